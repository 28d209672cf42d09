"""Jobs: started, run, lost, taken up again, cancelled, retried and limited."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import OperationalError, connections, transaction
from django.db.models.functions import Now
from django.utils import timezone, translation

from engine import jobs, people
from realtime.feeds.events import FeedHistory
from realtime.protocol import EventError
from realtime.testing import url_of_test_database
from realtime.work import context as context_module
from realtime.work import models
from realtime.work import worker as worker_module
from realtime.work.context import JobContext, Stopped
from realtime.work.django_tasks import TaskResultDoesNotExist, TaskResultStatus
from realtime.work.models import LOST, Job, State, claim, release
from realtime.work.queue import astart, cancel, retry, start
from realtime.work.testing import run_all
from realtime.work.worker import FAILED, MAX_RESULT_BYTES, Worker

FEED = "jobs"
MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quiet():
    """Forget what tasks of other tests did."""
    jobs.calls.clear()
    jobs.go_on.clear()
    jobs.running = threading.Semaphore(0)
    yield
    jobs.go_on.set()


def events(feed=FEED):
    """Return the events of a feed, oldest first."""
    return list(FeedHistory(feed).between(0, 100_000))[::-1]


def states(feed=FEED):
    return [event["state"] for event in events(feed) if event["type"] == "job"]


def texts(feed=FEED):
    return [event["text"] for event in events(feed) if event["type"] == "step"]


def begin(task, arguments=None, **options):
    """Start a job of ann, and return it."""
    return start(task, arguments, **{"user_id": "ann", "feed": FEED, **options})[0]


def run_until_killed():
    with suppress(jobs.KilledError):
        run_all()


def end_leases():
    """Let the time of a lease pass."""
    Job.objects.filter(locked_until__isnull=False).update(locked_until=Now() - MINUTE)


def eventually(condition):
    """Wait until a condition holds."""
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def working(threads=2):
    """Run a worker in a thread."""
    worker = Worker(threads)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join()


# Steps, events and the end


def test_job_reports_to_its_feed():
    """State, steps and progress are numbered events. The last one has the result."""
    job = begin(jobs.count, {"to": 2})
    run_all()
    about = {"type": "job", "job": job.pk, "name": "count", "reason": ""}
    step = {"type": "step", "job": job.pk}
    before = {"progress": 0, "steps": 0, "result": None}
    assert events() == [
        {"seq": 1, **about, **before, "state": "waiting"},
        {"seq": 2, **about, **before, "state": "running"},
        {"seq": 3, **step, "step": 1, "text": "Number 1", "progress": 0.5},
        {"seq": 4, **step, "step": 2, "text": "Number 2", "progress": 1},
        {"seq": 5, **about, "state": "done", "progress": 1, "steps": 2, "result": {"total": 3}},
    ]
    job.refresh_from_db()
    assert (job.state, job.result, job.lease, job.locked_until) == (State.DONE, {"total": 3}, "", None)
    assert job.created_at <= job.started_at <= job.ended_at + timedelta(milliseconds=1)


def test_job_without_a_feed_has_no_events():
    """The row alone has the result."""
    job = begin(jobs.count, {"to": 2}, feed="")
    run_all()
    job.refresh_from_db()
    assert (job.state, job.result, events(""), events()) == (State.DONE, {"total": 3}, [], [])


def test_job_reverses_paths_with_the_prefix(settings):
    """Links that a job makes lead to the site below `FORCE_SCRIPT_NAME`."""
    settings.FORCE_SCRIPT_NAME = "/sub"
    job = begin(jobs.locate)
    with working():
        eventually(lambda: Job.objects.get(pk=job.pk).result)
    job.refresh_from_db()
    assert job.result == "/sub/healthz"


def test_progress_has_an_event_per_percent():
    """A thousand calls store a hundred events, and the last of the values."""
    job = begin(jobs.advance)
    run_all()
    progress = [event for event in events() if event["type"] == "progress"]
    assert [round(event["progress"] * 100) for event in progress] == list(range(1, 101))
    assert {event["job"] for event in progress} == {job.pk}


@pytest.mark.parametrize(("error", "reason"), [("job", "the reason"), ("other", FAILED)])
def test_failure_has_a_reason(error, reason, caplog):
    """The user reads the text of a JobError. That of others is logged only."""
    job = begin(jobs.fail, {"error": error})
    run_all()
    job.refresh_from_db()
    assert (job.state, job.reason, job.result) == (State.FAILED, reason, None)
    assert job.ended_at is not None
    assert events()[-1]["reason"] == reason
    assert ("ValueError: the reason" in caplog.text) == (error == "other")


@pytest.mark.parametrize(("language", "reason"), [("de", "Etwas ist schiefgegangen."), ("en", "Something went wrong.")])
def test_job_runs_in_the_language_of_its_start(language, reason):
    """A worker has no request."""
    with translation.override(language):
        job = begin(jobs.fail, {"error": "other"})
    run_all()
    job.refresh_from_db()
    assert job.reason == reason


@pytest.mark.parametrize("result", ["x" * MAX_RESULT_BYTES, {1, 2}], ids=["long", "not JSON"])
def test_result_that_no_event_can_carry_fails_the_job(result, monkeypatch):
    """Long results belong into a model or a file."""
    job = begin(jobs.answer, {"result": None})
    monkeypatch.setattr(worker_module, "import_string", lambda _: Task(result))
    run_all()
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert job.result is None


class Task:
    """Task that returns a value which cannot be stored as an argument, or raises it."""

    takes_context = False
    backend = "default"
    module_path = "engine.jobs.answer"

    def __init__(self, result):
        self.result = result

    def call(self, **_):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_steps_of_a_job_are_bounded(settings):
    """One more than REALTIME_JOB_STEPS fails the job."""
    settings.REALTIME_JOB_STEPS = 3
    job = begin(jobs.count, {"to": 4})
    run_all()
    job.refresh_from_db()
    assert (job.state, job.steps, job.reason) == (State.FAILED, 3, "The job has more than 3 steps.")


def test_unknown_task_is_left_to_other_workers(settings, caplog):
    """A worker of a newer version may know it. If none does, the job fails in the end."""
    settings.REALTIME_JOB_ATTEMPTS = 2
    job = begin(jobs.count, {"to": 1})
    Job.objects.update(kind="engine.jobs.gone")
    for attempt in (1, 2):
        caplog.clear()
        with working() as worker:
            eventually(lambda: "after its lease" in caplog.text)
            eventually(lambda worker=worker: not worker.runs)
        job.refresh_from_db()
        assert (job.state, job.attempts) == (State.RUNNING, attempt)
        end_leases()
    run_all()
    job.refresh_from_db()
    assert (job.state, job.reason) == (State.FAILED, LOST)


# Start


@pytest.mark.parametrize("arguments", [{}, {"to": 1, "other": 2}])
def test_wrong_arguments_are_refused_at_once(arguments):
    """Not the worker, but the caller gets the TypeError."""
    with pytest.raises(TypeError):
        start(jobs.count, arguments)
    assert Job.objects.count() == 0


def test_job_waits_for_the_commit():
    """A transaction that is rolled back leaves no job and no event."""
    with suppress(ValueError), transaction.atomic():
        begin(jobs.count, {"to": 1})
        raise ValueError
    assert (Job.objects.count(), events()) == (0, [])


def test_job_is_started_from_async_code():
    """`start` would block the event loop, and `astart` does not."""

    async def run():
        with pytest.raises(RuntimeError, match="astart"):
            start(jobs.count, {"to": 1})
        return await astart(jobs.count, {"to": 1}, user_id="ann")

    job, is_new = async_to_sync(run)()
    assert (job.user_id, job.arguments, is_new) == ("ann", {"to": 1}, True)


def test_key_starts_a_job_once():
    """A repeated key returns the job, even after its end. Keys belong to a user and a task."""
    job, is_new = start(jobs.count, {"to": 1}, user_id="ann", feed=FEED, key="k")
    run_all()
    again, is_new_again = start(jobs.count, {"to": 9}, user_id="ann", feed=FEED, key="k")
    assert (again, is_new, is_new_again) == (job, True, False)
    assert start(jobs.count, {"to": 1}, user_id="bob", key="k")[1]
    assert start(jobs.add, {"one": 1}, user_id="ann", key="k")[1]
    assert states() == ["waiting", "running", "done"]


def test_only_one_job_waits_or_runs_once():
    """`once` returns the job that is not at its end. After it another one can be started."""
    job, _ = start(jobs.count, {"to": 1}, user_id="ann", once=True)
    assert start(jobs.count, {"to": 2}, user_id="ann", once=True) == (job, False)
    assert start(jobs.count, {"to": 1}, user_id="bob", once=True)[1]
    run_all()
    assert start(jobs.count, {"to": 1}, user_id="ann", once=True)[1]


@pytest.mark.parametrize("options", [{"key": "k"}, {"once": True}])
def test_concurrent_starts_are_one(options):
    """Of eight requests at the same time one starts the job."""
    barrier, found = threading.Barrier(8), []

    def request():
        barrier.wait()
        found.append(start(jobs.count, {"to": 1}, user_id="ann", feed=FEED, **options))
        connections.close_all()

    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(is_new for _, is_new in found) == [False] * 7 + [True]
    assert {job.pk for job, _ in found} == {Job.objects.get().pk}
    assert states() == ["waiting"]


def test_jobs_of_a_user_are_limited(settings):
    """So many may wait or run, and so many may be started a day. Others have limits of their own."""
    settings.REALTIME_JOBS_OPEN, settings.REALTIME_JOBS_PER_DAY = 2, 3
    ended = [begin(jobs.count, {"to": 1}, key=key) for key in "ab"]
    with pytest.raises(EventError, match="At most 2 jobs"):
        begin(jobs.count, {"to": 1})
    assert begin(jobs.count, {"to": 1}, key="a") == ended[0]
    begin(jobs.count, {"to": 1}, user_id="bob")
    run_all()
    begin(jobs.count, {"to": 1})
    with pytest.raises(EventError, match="3 jobs a day") as refusal:
        begin(jobs.count, {"to": 1})
    assert refusal.value.code == "rate_limited"
    Job.objects.filter(pk=ended[0].pk).update(created_at=timezone.now() - timedelta(days=2))
    begin(jobs.count, {"to": 1})
    for _ in range(4):
        begin(jobs.count, {"to": 1}, user_id="")


def test_waiting_jobs_of_all_users_are_limited(settings):
    """Many guests cannot fill the queue. Jobs without a user, which the site itself starts, are not refused."""
    settings.REALTIME_JOBS_WAITING = 3
    for guest in "abc":
        begin(jobs.count, {"to": 1}, user_id=guest)
    with pytest.raises(EventError, match="Too many jobs are waiting") as refusal:
        begin(jobs.count, {"to": 1}, user_id="d")
    assert refusal.value.code == "rate_limited"
    begin(jobs.count, {"to": 1}, user_id="")
    run_all()
    begin(jobs.count, {"to": 1}, user_id="d")


def test_concurrent_starts_respect_the_limit(settings):
    """Requests at the same time see each other's jobs."""
    settings.REALTIME_JOBS_OPEN = 3
    barrier, refused = threading.Barrier(8), []

    def request():
        barrier.wait()
        try:
            begin(jobs.count, {"to": 1})
        except EventError as error:
            refused.append(error.code)
        connections.close_all()

    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (Job.objects.count(), refused) == (3, ["rate_limited"] * 5)


# Lost workers


def test_job_of_a_lost_worker_goes_on_after_its_last_step():
    """Each step is stored once, and the result is that of an undisturbed job."""
    job = begin(jobs.count, {"to": 4, "killed_at": 3})
    run_until_killed()
    run_all()
    assert jobs.calls == [(0, {})]  # not before the lease has ended
    end_leases()
    run_all()
    job.refresh_from_db()
    assert (job.state, job.result) == (State.DONE, {"total": 10})
    assert jobs.calls == [(0, {}), (2, {"total": 3})]
    assert texts() == [f"Number {number}" for number in range(1, 5)]
    assert states() == ["waiting", "running", "running", "done"]


def test_job_that_kills_its_workers_fails(settings):
    """After REALTIME_JOB_ATTEMPTS without a step it is given up."""
    settings.REALTIME_JOB_ATTEMPTS = 3
    job = begin(jobs.die)
    for _ in range(5):
        run_until_killed()
        end_leases()
    job.refresh_from_db()
    assert (job.state, job.reason, job.lease) == (State.FAILED, LOST, "")
    assert jobs.calls == [1, 2, 3]
    assert events()[-1]["state"] == "failed"


def test_error_of_the_database_loses_only_the_run():
    """The task cannot know whether its step is stored, so the job goes on from what is stored."""
    job = begin(jobs.fail, {"error": "database"})
    with pytest.raises(OperationalError):
        run_all()
    job.refresh_from_db()
    assert job.state == State.RUNNING


def test_wrong_query_fails_the_job(caplog):
    """Some databases report a missing table like a lost connection, but a repetition would not help."""
    job = begin(jobs.query, {"sql": "SELECT * FROM missing"})
    run_all()
    job.refresh_from_db()
    assert (job.state, job.reason) == (State.FAILED, FAILED)
    assert "missing" in caplog.text


def test_step_is_stored_with_its_event(monkeypatch):
    """If the event cannot be stored, the step is not, and comes again."""
    job = begin(jobs.count, {"to": 2})
    with monkeypatch.context() as broken:
        broken.setattr(context_module, "append", lambda *_: jobs.fail.func(None, "database"))
        with pytest.raises(OperationalError):
            run_all()
    job.refresh_from_db()
    assert (job.steps, job.progress, job.resume) == (0, 0, {})
    end_leases()
    run_all()
    assert texts() == ["Number 1", "Number 2"]


def test_worker_without_its_lease_changes_nothing():
    """A worker that slept too long stores no step once another one has the job."""
    job = begin(jobs.count, {"to": 3})
    slept = JobContext(claim(1)[0])
    end_leases()
    (other,) = claim(1)
    with pytest.raises(Stopped):
        slept.step("Late")
    release(slept.job)
    job.refresh_from_db()
    assert (job.steps, job.lease, job.state) == (0, other.lease, State.RUNNING)
    assert texts() == []


def test_two_workers_run_each_job_once():
    """Fifty jobs of two workers with four threads each run once each."""
    started = [begin(jobs.count, {"to": 2}, user_id="", feed=f"feed-{number}") for number in range(50)]
    with working(4), working(4):
        eventually(lambda: Job.objects.filter(state=State.DONE).count() == 50)
    for number, job in enumerate(started):
        assert states(f"feed-{number}") == ["waiting", "running", "done"]
        assert texts(f"feed-{number}") == ["Number 1", "Number 2"]
        job.refresh_from_db()
        assert job.attempts == 0


def test_oldest_job_is_first():
    """Jobs are taken up in the order of their start."""
    started = [begin(jobs.count, {"to": 1}).pk for _ in range(3)]
    assert [job.pk for job in claim(2)] == started[:2]


def test_users_take_turns():
    """A user's many jobs wait for the first of another user, also for those that run already."""
    of_ann = [begin(jobs.count, {"to": 1}).pk for _ in range(4)]
    of_bob = [begin(jobs.count, {"to": 1}, user_id="bob").pk for _ in range(2)]
    assert [job.pk for job in claim(1)] == of_ann[:1]
    assert [job.pk for job in claim(4)] == [of_bob[0], of_ann[1], of_bob[1], of_ann[2]]


def test_jobs_are_taken_up_together_or_not_at_all(monkeypatch):
    """An error of the database leaves no job to a worker that does not know of it."""
    begin(jobs.count, {"to": 1})
    begin(jobs.count, {"to": 1})
    ends = [Now()]
    with monkeypatch.context() as broken:
        broken.setattr(models, "lease_end", lambda: ends.pop() if ends else jobs.fail.func(None, "database"))
        with pytest.raises(OperationalError):
            claim(2)
    assert list(Job.objects.values_list("state", "attempts")) == [(State.WAITING, 0)] * 2


# Workers


def test_worker_runs_as_many_jobs_as_it_has_threads():
    """The third of three jobs waits for one of two threads."""
    for _ in range(3):
        begin(jobs.wait)
    with working(2):
        jobs.running.acquire()
        jobs.running.acquire()
        assert sorted(Job.objects.values_list("state", flat=True)) == ["running", "running", "waiting"]
        jobs.go_on.set()
        eventually(lambda: Job.objects.filter(state=State.DONE).count() == 3)


def test_worker_of_the_same_process_starts_at_once(monkeypatch):
    """The start wakes the worker before its next look at the table."""
    monkeypatch.setattr(worker_module, "LOOK_SECONDS", 60)
    looked = threading.Event()

    def look(most):
        looked.set()
        return claim(most)

    monkeypatch.setattr(worker_module, "claim", look)
    with working() as worker:
        assert looked.wait(5)
        begin(jobs.wait)
        assert jobs.running.acquire(timeout=5)
        jobs.go_on.set()
        worker.stopping = True
        worker.woken.set()


def test_worker_renews_its_leases(settings, monkeypatch):
    """A job without a step for longer than a lease is not taken up by another worker."""
    settings.REALTIME_JOB_LEASE = 1
    monkeypatch.setattr(worker_module, "LOOK_SECONDS", 0.05)
    job = begin(jobs.wait)
    with working(), working():
        jobs.running.acquire()
        assert not jobs.running.acquire(timeout=2)
        jobs.go_on.set()
        eventually(lambda: Job.objects.get().state == State.DONE)
    assert states() == ["waiting", "running", "done"]
    assert Job.objects.get().result == job.pk


def test_run_that_may_have_lost_its_lease_is_stopped(settings, monkeypatch):
    """A worker that could not renew for as long as a lease stops its tasks: others may run them."""
    settings.REALTIME_JOB_LEASE = 1
    monkeypatch.setattr(worker_module, "renew", lambda _: jobs.fail.func(None, "database"))
    begin(jobs.wait)
    with working() as worker:
        jobs.running.acquire()
        (run,) = worker.runs
        eventually(run.context.stopped.is_set)


def test_stopped_worker_gives_its_jobs_back():
    """Another worker takes up the job at once, without the wait for the lease."""
    job = begin(jobs.wait)
    with working():
        jobs.running.acquire()
    job.refresh_from_db()
    assert (job.state, job.lease, job.locked_until, job.attempts) == (State.WAITING, "", None, 0)
    jobs.go_on.set()
    run_all()
    assert states() == ["waiting", "running", "waiting", "running", "done"]


def test_task_that_does_not_stop_is_given_back_all_the_same(monkeypatch):
    """A step that is stored later is refused."""
    monkeypatch.setattr(worker_module, "STOP_SECONDS", 0.1)
    job = begin(jobs.ignore)
    with working() as worker:
        jobs.running.acquire()
    job.refresh_from_db()
    assert (job.state, job.locked_until) == (State.WAITING, None)
    (run,) = worker.runs
    jobs.go_on.set()
    run.join()
    assert texts() == []


def test_worker_survives_the_database(monkeypatch, caplog):
    """While the database does not answer, the worker logs one warning, and asks again."""
    monkeypatch.setattr(worker_module, "RETRY_SECONDS", 0.05)
    failures = [OperationalError("gone")] * 3

    def fail_first(most):
        if failures:
            raise failures.pop()
        return claim(most)

    monkeypatch.setattr(worker_module, "claim", fail_first)
    begin(jobs.count, {"to": 1})
    with working():
        eventually(lambda: Job.objects.get().state == State.DONE)
    assert [record.message for record in caplog.records if "gone" in record.message] == [
        "The database was not asked for jobs, retrying: gone"
    ]


def test_run_that_lost_the_database_is_left_to_its_lease(caplog):
    """The worker goes on, and so does the job after its lease."""
    begin(jobs.fail, {"error": "database"})
    with working() as worker:
        eventually(lambda: "after its lease" in caplog.text and not worker.runs)
        job = Job.objects.get()
    assert (job.state, job.attempts) == (State.RUNNING, 1)


# Cancellation and retry


def test_waiting_job_is_cancelled():
    """No worker runs it, and it cannot be cancelled again."""
    job = begin(jobs.count, {"to": 1})
    assert cancel(job)
    run_all()
    assert not cancel(job)
    assert states() == ["waiting", "cancelled"]
    assert jobs.calls == []


def test_running_job_is_cancelled():
    """The task is stopped, and stores nothing more."""
    job = begin(jobs.wait)
    with working() as worker:
        jobs.running.acquire()
        assert cancel(job)
        eventually(lambda: not worker.runs)
    job.refresh_from_db()
    assert (job.state, job.lease, job.locked_until) == (State.CANCELLED, "", None)
    assert states() == ["waiting", "running", "cancelled"]
    assert texts() == []


def test_cancelled_job_runs_again_only_after_its_first_run():
    """A retry waits until the task has ended, so that it never runs twice at once."""
    job = begin(jobs.ignore)
    with working(2) as worker:
        jobs.running.acquire()
        assert cancel(job)
        assert retry(job)
        assert not jobs.running.acquire(timeout=1)
        jobs.go_on.set()
        assert jobs.running.acquire(timeout=5)
        eventually(lambda: not worker.runs)
    assert states() == ["waiting", "running", "cancelled", "waiting", "running", "done"]
    assert texts() == ["Went on"]


def test_jobs_of_a_deleted_user_are_cancelled():
    """No worker does the work of a user that is gone."""
    user = people.user_of("kim")
    job, other = begin(jobs.count, {"to": 1}, user_id=str(user.pk)), begin(jobs.count, {"to": 1})
    user.delete()
    run_all()
    assert [Job.objects.get(pk=one.pk).state for one in (job, other)] == [State.CANCELLED, State.DONE]


def test_job_that_ends_after_its_cancellation_stays_cancelled():
    """The result of a task that ends at the same moment is not stored."""
    job = begin(jobs.answer, {"result": 1})
    (claimed,) = claim(1)
    cancel(job)
    worker_module.run_job(JobContext(claimed))
    job.refresh_from_db()
    assert (job.state, job.result, job.lease) == (State.CANCELLED, None, "")


def test_retry_goes_on_after_the_last_step(settings):
    """Steps that are stored stay. A job that runs or is done is not started again."""
    settings.REALTIME_JOB_STEPS = 2
    job = begin(jobs.count, {"to": 3})
    assert not retry(job)
    run_all()
    settings.REALTIME_JOB_STEPS = 3
    assert retry(job)
    job.refresh_from_db()
    assert (job.state, job.reason, job.ended_at, job.steps) == (State.WAITING, "", None, 2)
    run_all()
    assert not retry(job)
    assert jobs.calls == [(0, {}), (2, {"total": 3})]
    assert states() == ["waiting", "running", "failed", "waiting", "running", "done"]


def test_retry_has_the_limits_of_a_start(settings):
    """A job of `once` waits for the other one, and the number of jobs is limited."""
    job = begin(jobs.fail, {"error": "job"}, once=True)
    run_all()
    other = begin(jobs.fail, {"error": "job"}, once=True)
    assert not retry(other)
    with pytest.raises(EventError, match="Such a job"):
        retry(job)
    cancel(other)
    settings.REALTIME_JOBS_OPEN = 1
    begin(jobs.count, {"to": 1})
    with pytest.raises(EventError, match="At most 1 jobs"):
        retry(job)
    job.refresh_from_db()
    assert job.state == State.FAILED


def test_retries_are_limited(settings):
    """A job has REALTIME_JOB_RETRIES, and each one counts as a start of the day."""
    settings.REALTIME_JOB_RETRIES, settings.REALTIME_JOBS_PER_DAY = 2, 4
    job = begin(jobs.count, {"to": 1})
    for _ in range(2):
        assert cancel(job)
        assert retry(job)
    cancel(job)
    with pytest.raises(EventError, match="2 times at most") as refusal:
        retry(job)
    assert refusal.value.code == "rate_limited"
    cancel(begin(jobs.count, {"to": 1}))
    with pytest.raises(EventError, match="4 jobs a day"):
        begin(jobs.count, {"to": 1})


# Django's tasks


def test_tasks_of_django_are_jobs_without_a_user():
    """`enqueue` takes any arguments that JSON can carry, also of an async function, and has a result."""
    results = [jobs.add.enqueue(1), jobs.add_later.enqueue(1, other=4), jobs.attempt.enqueue()]
    assert [result.status for result in results] == [TaskResultStatus.READY] * 3
    run_all()
    for result in results:
        result.refresh()
    assert [result.return_value for result in results] == [3, 5, [1, results[2].id]]
    assert [result.is_finished for result in results] == [True] * 3
    assert set(Job.objects.values_list("user_id", "feed")) == {("", "")}


def test_task_takes_any_names():
    """Arguments that a function collects by `**` arrive as they were passed."""
    result = jobs.collect.enqueue(1, name=2, others=3)
    run_all()
    result.refresh()
    assert result.return_value == [1, {"name": 2, "others": 3}]


@pytest.mark.parametrize(("task", "name"), [(jobs.add_all, "numbers"), (jobs.negate, "number")])
def test_arguments_without_names_are_refused(task, name):
    """A job stores arguments by their names, so the caller gets a TypeError."""
    with pytest.raises(TypeError, match=f"takes {name} by position, and a job only by name"):
        task.enqueue(1)
    assert Job.objects.count() == 0


def test_failed_task_has_its_error():
    """A task that failed or was cancelled is FAILED."""
    results = [jobs.fail.enqueue("job"), jobs.fail.enqueue("job")]
    cancel(Job.objects.get(pk=results[1].id))
    run_all()
    for result in results:
        result.refresh()
    assert [result.status for result in results] == [TaskResultStatus.FAILED] * 2
    assert [error.traceback for error in results[0].errors] == ["the reason"]


@pytest.mark.parametrize("key", ["1", "x"])
def test_unknown_result_does_not_exist(key):
    """Any text may be asked for."""
    with pytest.raises(TaskResultDoesNotExist):
        jobs.add.get_result(key)


# Processes


@contextmanager
def worker_process(tmp_path, settings="engine.settings"):
    """Start `manage.py worker` on the database of the tests. The folder may have its settings."""
    environ = {**os.environ, "DATABASE_URL": url_of_test_database(), "DJANGO_SETTINGS_MODULE": settings}
    environ["PYTHONPATH"] = str(tmp_path)
    command = [sys.executable, "manage.py", "worker", "--exit-with-parent"]
    log = tmp_path / "worker.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=django_settings.BASE_DIR, env=environ, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            print(log.read_text())


@pytest.mark.start
def test_sigterm_gives_a_job_back(tmp_path):
    """The process ends with 0, and the next one goes on at once."""
    job = begin(jobs.slow, {"steps": 40})
    with worker_process(tmp_path) as process:
        eventually(lambda: Job.objects.get().steps)
        process.terminate()
        assert process.wait(10) == 0
        job.refresh_from_db()
        assert (job.state, job.lease) == (State.WAITING, "")
    with worker_process(tmp_path):
        eventually(lambda: Job.objects.get().state == State.DONE)
    pieces = [event for event in events() if event["type"] == "piece"]
    assert [piece["number"] for piece in pieces] == list(range(40))
    assert len({piece["pid"] for piece in pieces}) == 2


@pytest.mark.start
def test_job_of_a_killed_worker_is_taken_up_again(tmp_path):
    """After SIGKILL the lease ends, and another worker goes on."""
    begin(jobs.kill)
    with worker_process(tmp_path) as process:
        assert process.wait(15) == -signal.SIGKILL
        assert Job.objects.get().state == State.RUNNING
    end_leases()
    with worker_process(tmp_path):
        eventually(lambda: Job.objects.get().state == State.DONE)
    assert texts() == ["First", "Second"]


# Cleanup


@pytest.mark.parametrize(("days", "left"), [(30, ["new", "open"]), (0, ["new", "old", "open"])])
def test_old_jobs_are_deleted(settings, days, left, capsys):
    """Those that ended more than REALTIME_JOB_DAYS ago are. Zero keeps all."""
    settings.REALTIME_JOB_DAYS = days
    for key in ("old", "new"):
        begin(jobs.count, {"to": 1}, key=key)
    run_all()
    begin(jobs.count, {"to": 1}, key="open")
    old = timezone.now() - timedelta(days=31)
    Job.objects.filter(key="old").update(ended_at=old)
    Job.objects.filter(key="open").update(created_at=old)
    call_command("cleanup")
    assert sorted(Job.objects.values_list("key", flat=True)) == left
