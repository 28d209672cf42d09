"""The page of jobs, its socket, and the task behind them."""

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.layers import InMemoryChannelLayer
from django.test import Client
from pytest_django import Settings

from config.asgi import application
from conftest import Visit
from jobs import tasks
from jobs.figures import jobs
from jobs.tasks import feed_of, prepare_report
from realtime.feeds.events import FeedHistory
from realtime.work.models import Job, State
from realtime.work.queue import cancel, start
from realtime.work.testing import run_all
from tests.people import client_of, id_of

pytestmark = pytest.mark.django_db(transaction=True)

WRITTEN = ["Chapter 1 of 2 is written.", "Chapter 2 of 2 is written."]


@pytest.fixture(autouse=True)
def work_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write chapters at once."""
    monkeypatch.setattr(tasks, "CHAPTER_SECONDS", 0)


def begin(name: str = "ann", chapters: int = 2, **options: Any) -> Job:
    """Start a report of a user, as the page does."""
    own = id_of(name)
    feed = feed_of(own)
    arguments = {"chapters": chapters}
    return start(prepare_report, arguments, user_id=own, user_name=name, feed=feed, **options)[0]


def post(client: Client, path: str = "/jobs/", **fields: Any) -> int:
    """Send a form, and return the status of the answer."""
    return client.post(path, fields).status_code


def page_of(client: Client) -> list[tuple[str, str]]:
    """Return the numbers and states of the jobs on the page, newest first."""
    html = client.get("/jobs/").content.decode().partition("<template>")[0]
    return re.findall(r'data-job="(\d+)" data-state="(\w+)"', html)


def test_report_is_prepared_by_the_worker() -> None:
    """The button stores a job, and the worker its result."""
    ann = client_of("ann")
    assert post(ann, chapters=2, key=uuid4()) == 302
    job = Job.objects.get()
    assert (job.user_id, job.name) == (id_of("ann"), "prepare_report")
    assert page_of(ann) == [(str(job.pk), "waiting")]
    run_all()
    assert page_of(ann) == [(str(job.pk), "done")]
    assert "2 chapters, 300 words" in ann.get("/jobs/").content.decode()


def test_worker_writes_in_the_language_of_the_user() -> None:
    """A worker has no request. The job has the language in which it was started."""
    fields = {"chapters": 2, "key": uuid4()}
    client_of("ann").post("/jobs/", fields, headers={"Accept-Language": "de"})
    run_all()
    events = FeedHistory(feed_of(id_of("ann"))).between(0, 100)
    assert sorted(event["text"] for event in events if event["type"] == "step") == [
        "Kapitel 1 von 2 ist geschrieben.",
        "Kapitel 2 von 2 ist geschrieben.",
    ]
    assert Job.objects.get().result == "2 Kapitel, 300 Wörter"


def test_figures_count_the_jobs_of_all_users() -> None:
    """Jobs that ended are left out."""
    begin("ann")
    begin("bob")
    cancel(begin("bob"))
    assert jobs() == {"Waiting jobs": 2, "Running jobs": 0}


def test_double_click_starts_one_job() -> None:
    """The form of a page starts one job, however often it is sent."""
    ann, key = client_of("ann"), uuid4()
    assert [post(ann, chapters=2, key=key) for _ in range(2)] == [302, 302]
    assert Job.objects.count() == 1


@pytest.mark.parametrize("fields", [{"chapters": 0}, {"chapters": 101}, {"chapters": "x"}, {}])
def test_form_is_checked(fields: dict[str, Any]) -> None:
    """A report has 1 to 100 chapters, and every form has a key."""
    ann = client_of("ann")
    assert post(ann, **{"key": uuid4(), **fields}) == 400
    assert post(ann, chapters=1) == 400
    assert Job.objects.count() == 0


def test_too_many_jobs_are_refused(settings: Settings) -> None:
    """The page shows the reason, and a retry has the same limit."""
    settings.REALTIME_JOBS_OPEN = 1
    ann = client_of("ann")
    post(ann, chapters=2, key=uuid4())
    cancelled = Job.objects.get()
    post(ann, f"/jobs/{cancelled.pk}/cancel/")
    post(ann, chapters=2, key=uuid4())
    answer = ann.post("/jobs/", {"chapters": 2, "key": uuid4()})
    assert (answer.status_code, Job.objects.count()) == (429, 2)
    assert "At most 1 jobs wait or run." in answer.content.decode()
    assert post(ann, f"/jobs/{cancelled.pk}/retry/") == 429


def test_job_is_cancelled_and_retried() -> None:
    """A job that was cancelled goes on after its last chapter."""
    ann, job = client_of("ann"), begin()
    assert post(ann, f"/jobs/{job.pk}/cancel/") == 302
    run_all()
    assert page_of(ann) == [(str(job.pk), "cancelled")]
    Job.objects.update(steps=1, resume={"words": 100})
    assert post(ann, f"/jobs/{job.pk}/retry/") == 302
    run_all()
    job.refresh_from_db()
    assert (job.state, job.steps, job.result) == (State.DONE, 2, "2 chapters, 300 words")


def test_jobs_of_others_cannot_be_seen_or_changed() -> None:
    """Another user gets 404, and an empty page."""
    job, bob = begin("ann"), client_of("bob")
    assert page_of(bob) == []
    assert [post(bob, f"/jobs/{job.pk}/{verb}/") for verb in ("cancel", "retry")] == [404, 404]
    assert [client_of("ann").get(f"/jobs/{job.pk}/cancel/").status_code] == [405]
    job.refresh_from_db()
    assert job.state == State.WAITING


async def test_socket_gets_what_the_job_does(visit: Visit) -> None:
    """Two tabs of the user get each event once, and others get none."""
    tabs = [await visit("/ws/jobs/"), await visit("/ws/jobs/")]
    bob = await visit("/ws/jobs/", "bob")
    for socket in (*tabs, bob):
        await socket.receive_until("welcome")
    job = await sync_to_async(begin)()
    await sync_to_async(run_all)()
    for tab in tabs:
        events = [await tab.receive() for _ in range(5)]
        assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]
        assert [event["text"] for event in events if event["type"] == "step"] == WRITTEN
        states = [event["state"] for event in events if event["type"] == "job"]
        assert states == ["waiting", "running", "done"]
        assert {event["job"] for event in events} == {job.pk}
    assert await bob.receives_nothing()


async def test_socket_gets_what_it_has_missed(visit: Visit) -> None:
    """After a reload, all events are replayed, and after a reconnect those that are newer."""
    await sync_to_async(begin)()
    await sync_to_async(run_all)()
    reloaded, reconnected = await visit("/ws/jobs/"), await visit("/ws/jobs/?after=3")
    for socket, missed in ((reloaded, [1, 2, 3, 4, 5]), (reconnected, [4, 5])):
        await socket.receive_until("welcome")
        assert [(await socket.receive())["seq"] for _ in missed] == missed
        assert await socket.receives_nothing()


async def test_unknown_event_is_refused(visit: Visit) -> None:
    """Jobs are started on the page, not through the socket."""
    ann = await visit("/ws/jobs/")
    await ann.receive_until("welcome")
    await ann.send(type="start")
    assert (await ann.receive())["code"] == "unknown_type"


async def test_channels_worker_answers_a_page(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question goes through the channel layer to `runworker`, and the answer to the feed."""
    ann = await visit("/ws/jobs/")
    await ann.receive_until("welcome")
    await sync_to_async(begin)("bob")
    await ann.send(type="estimate")
    assert await ann.receives_nothing()  # until a worker of Channels runs
    message = {"type": "estimate", "feed": feed_of(await sync_to_async(id_of)("ann"))}
    scope = {"type": "channel", "channel": "estimates"}
    worker = ApplicationCommunicator(application, scope)
    await worker.send_input(message)
    assert await ann.receive() == {"type": "estimate", "waiting": 1}
    worker.stop()


async def test_socket_outlives_the_channel_layer(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that cannot be sent is lost, and the socket stays open."""
    ann = await visit("/ws/jobs/")
    await ann.receive_until("welcome")

    async def fail(*_: Any) -> None:
        raise ConnectionError("Redis is down")

    monkeypatch.setattr(InMemoryChannelLayer, "send", fail)
    await ann.send(type="estimate")
    await ann.send(type="ping")
    assert await ann.receive() == {"type": "pong"}


def test_page_has_the_newest_jobs(django_assert_max_num_queries: Callable[..., Any]) -> None:
    """However many there are, the page reads the same number of rows, and queries."""
    Job.objects.bulk_create(
        Job(kind="x", user_id=id_of("ann"), feed=feed_of(id_of("ann"))) for _ in range(30)
    )
    ann = client_of("ann")
    with django_assert_max_num_queries(6):
        shown = page_of(ann)
    assert [int(number) for number, _ in shown] == sorted(
        Job.objects.values_list("pk", flat=True), reverse=True
    )[:20]
