"""Users who edit and delete their own messages."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat.models import Message
from chat.tests.helpers import store
from conftest import Visit
from realtime.testing import SocketClient
from tests.people import client_of

LOBBY = "/ws/chat/lobby/"


async def talk(visit: Visit) -> tuple[SocketClient, SocketClient]:
    """Return the sockets of Ann, who sent message 1, and of Bob."""
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    await ann.send(type="send", ref="a1", text="helo")
    for client in (ann, bob):
        await client.receive_until("message")
    return ann, bob


async def test_own_text_is_replaced_for_all(visit: Visit) -> None:
    """Everyone receives the new text. Newcomers and the history get it marked as edited."""
    ann, bob = await talk(visit)
    await ann.send(type="edit", ref="e1", seq=1, text="hello")
    edited = [await client.receive() for client in (ann, bob)]
    time = edited[0]["edited_at"]
    assert edited == [{"type": "edited", "seq": 1, "text": "hello", "edited_at": time}] * 2
    newcomer = await visit(LOBBY, "cem")
    *_, message = await newcomer.receive_until("message")
    assert (message["ref"], message["text"], message["edited_at"]) == ("a1", "hello", time)
    history = await sync_to_async(lambda: client_of("cem").get("/chat/lobby/messages/"))()
    assert history.json()["messages"] == [message]


async def test_empty_text_deletes_for_good(visit: Visit) -> None:
    """The row and its number stay without a text, which nothing brings back."""
    ann, bob = await talk(visit)
    await ann.send(type="edit", ref="e1", seq=1, text="")
    for client in (ann, bob):
        event = await client.receive()
        assert (event["type"], event["seq"], event["text"]) == ("edited", 1, "")
    await ann.send(type="edit", ref="e2", seq=1, text="hello")
    error = await ann.receive()
    assert (error["type"], error["code"], error["ref"]) == ("error", "not_found", "e2")
    assert (await Message.objects.aget()).text == ""
    await ann.send(type="send", ref="a2", text="hi")
    assert (await bob.receive())["seq"] == 2


@pytest.mark.parametrize(
    ("event", "code", "ref"),
    [
        ({}, "forbidden", "e1"),
        ({"text": ""}, "forbidden", "e1"),
        ({"seq": 2}, "not_found", "e1"),
        ({"seq": 0}, "not_found", "e1"),
        ({"seq": 2**80}, "not_found", "e1"),
        ({"seq": "1"}, "bad_message", "e1"),
        ({"seq": True}, "bad_message", "e1"),
        ({"seq": None}, "bad_message", "e1"),
        ({"text": None}, "bad_message", "e1"),
        ({"text": "x" * 4001}, "too_long", "e1"),
        ({"ref": ""}, "bad_message", None),
    ],
)
async def test_other_edits_are_refused(
    visit: Visit, event: dict[str, Any], code: str, ref: str | None
) -> None:
    """A message of another user or room is not changed, and the others receive nothing."""
    await sync_to_async(store)("hi", user="zoe")
    await sync_to_async(store)("hi", room="attic", user="zoe")
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    for client in (ann, bob):
        await client.receive_until("message")
    await ann.send(**{"type": "edit", "ref": "e1", "seq": 1, "text": "hello", **event})
    error = await ann.receive()
    assert (error["type"], error["code"], error["ref"]) == ("error", code, ref)
    assert await bob.receives_nothing()
    assert {message.text async for message in Message.objects.all()} == {"hi"}
