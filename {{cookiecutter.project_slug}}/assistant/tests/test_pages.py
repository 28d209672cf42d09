"""Pages and sockets of the assistant, which only the owner of a conversation has."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from pytest_django import Settings

from assistant.models import Conversation, Turn
from assistant.tests.helpers import begin
from conftest import Visit
from realtime.testing import SocketClient
from realtime.work.models import Job, State
from realtime.work.testing import run_all
from tests.people import client_of

pytestmark = pytest.mark.django_db


async def enter(visit: Visit, conversation: Conversation, query: str = "") -> SocketClient:
    """Return the socket of the owner after its welcome."""
    ann = await visit(f"/ws/assistant/{conversation.pk}/{query}")
    await ann.receive_until("welcome")
    return ann


def html_of(client: Client, path: str = "/assistant/") -> str:
    return client.get(path).content.decode()


def test_conversation_is_started_and_listed() -> None:
    """The button leads to a new conversation, and to the same one until it has a question."""
    ann = client_of("ann")
    assert "No conversations yet." in html_of(ann)
    answer = ann.post("/assistant/")
    conversation = Conversation.objects.get()
    assert (answer.status_code, answer["location"]) == (302, conversation.get_absolute_url())
    assert ann.post("/assistant/")["location"] == answer["location"]
    begin("ann", "How are you?")
    assert ">How are you?</a>" in html_of(ann)
    assert ann.post("/assistant/")["location"] != answer["location"]


def test_question_waits_for_the_script() -> None:
    """The script enables the button. Before, Enter would load the page again without the text."""
    page = html_of(client_of("ann"), begin("ann", "a").get_absolute_url())
    assert '<button type="submit" disabled>Ask</button>' in page


def test_user_has_a_number_of_conversations(settings: Settings) -> None:
    """One more is refused until one is deleted."""
    settings.ASSISTANT_CONVERSATIONS = 1
    ann = client_of("ann")
    conversation = begin("ann", "a")
    answer = ann.post("/assistant/")
    assert answer.status_code == 429
    assert "You have 1 conversations. Delete one first." in answer.content.decode()
    assert ann.post(f"/assistant/{conversation.pk}/delete/").status_code == 302
    assert ann.post("/assistant/").status_code == 302


def test_page_has_the_answers_so_far() -> None:
    """A reload needs only the events after those that the page shows."""
    conversation = begin("ann", "<b>Why?</b>")
    run_all()
    job = Job.objects.get()
    html = html_of(client_of("ann"), conversation.get_absolute_url())
    assert "&lt;b&gt;Why?&lt;/b&gt;</p>" in html
    assert '<p class="answer" dir="auto">Fine, thanks.</p>' in html
    assert f'data-job="{job.pk}" data-ref="&lt;b&gt;Why?&lt;/b&gt;" data-state="done"' in html
    assert (f'data-steps="{job.steps}"' in html, 'data-seq="' in html) == (True, True)
    job.delete()  # as `cleanup` does
    html = html_of(client_of("ann"), conversation.get_absolute_url())
    assert 'data-job="" ' in html
    assert "Fine, thanks.</p>" in html


def test_others_find_nothing() -> None:
    """The pages of others are 404, and the list has only one's own."""
    conversation = begin("ann", "secret")
    bob = client_of("bob")
    path = conversation.get_absolute_url()
    assert (bob.get(path).status_code, bob.post(f"{path}delete/").status_code) == (404, 404)
    assert "secret" not in html_of(bob)
    assert (Client().get(path).status_code in {302, 404}, Turn.objects.count()) == (True, 1)


async def test_socket_of_others_is_not_found(visit: Visit) -> None:
    """The socket is closed as the one of a conversation that does not exist."""
    conversation = await sync_to_async(begin)("ann", "secret")
    for path, name in ((conversation.pk, "bob"), (conversation.pk + 1, "ann"), (10**30, "ann")):
        socket = await visit(f"/ws/assistant/{path}/", name)
        assert (socket.connected, await socket.close_code()) == (True, 4404)


async def test_two_tabs_see_the_same_answer(visit: Visit) -> None:
    """A question of one tab is answered in both, and a reconnect gets what it has missed."""
    conversation = await sync_to_async(begin)("ann")
    tabs = [await enter(visit, conversation) for _ in range(2)]
    await tabs[0].send(type="ask", ref="a1", text="How are you?")
    for tab in tabs:
        assert (await tab.receive_until("question"))[-1]["ref"] == "a1"
    await sync_to_async(run_all)()
    seen = []
    for tab in (*tabs, await enter(visit, conversation, "?after=3")):
        events: list[dict[str, Any]] = []
        while not events or events[-1].get("state") != "done":
            events.append(await tab.receive())
        seen.append([event for event in events if event["seq"] > 3])
    assert seen[0] == seen[1] == seen[2]
    pieces = [event["text"] for event in seen[0] if event["type"] == "piece"]
    assert "".join(pieces) == "Fine, thanks."


async def test_answer_is_stopped_and_continued(visit: Visit) -> None:
    """Both events name the job. A number of another conversation changes nothing."""
    conversation = await sync_to_async(begin)("ann", "q")
    ann = await enter(visit, conversation, "?after=2")
    job = await Job.objects.aget()
    await ann.send(type="retry", job=job.pk)
    await ann.send(type="stop", job=job.pk + 1)
    assert await ann.receives_nothing()
    await ann.send(type="stop", job=job.pk)
    assert (await ann.receive())["state"] == State.CANCELLED
    await ann.send(type="retry", job=job.pk)
    assert (await ann.receive())["state"] == State.WAITING


@pytest.mark.parametrize(
    ("event", "code", "ref"),
    [
        ({"type": "ask", "ref": "r", "text": " \n"}, "bad_message", "r"),
        ({"type": "ask", "ref": "r"}, "bad_message", "r"),
        ({"type": "ask", "ref": "r", "text": "a\0b"}, "bad_message", "r"),
        ({"type": "ask", "ref": "r", "text": "x" * 4001}, "too_long", "r"),
        ({"type": "ask", "text": "x"}, "bad_message", None),
        ({"type": "stop"}, "bad_message", None),
        ({"type": "retry", "job": True}, "bad_message", None),
        ({"type": "dance"}, "unknown_type", None),
    ],
)
async def test_invalid_event_is_refused(
    visit: Visit, event: dict[str, Any], code: str, ref: str | None
) -> None:
    """The error names the `ref` if there is one, and nothing is stored."""
    ann = await enter(visit, await sync_to_async(begin)("ann"))
    await ann.send(**event)
    error = await ann.receive()
    assert (error["type"], error["code"], error["ref"]) == ("error", code, ref)
    assert await Turn.objects.acount() == 0


async def test_deletion_closes_the_sockets(visit: Visit) -> None:
    """Another tab of the owner ends at once."""
    conversation = await sync_to_async(begin)("ann", "q")
    ann = await enter(visit, conversation)
    await conversation.adelete()
    assert await ann.close_code() == 4403
