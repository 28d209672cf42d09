"""Chat over its socket, by the wire contract of docs/protocol.md."""

from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chat import models
from chat.models import Message, Room
from chat.tests.helpers import BAD_NAMES, store
from conftest import Visit
from realtime.testing import Event, SocketClient
from tests.people import id_of

LOBBY = "/ws/chat/lobby/"


async def enter(visit: Visit, *names: str) -> list[SocketClient]:
    """Return the sockets of users in the lobby, after their welcomes."""
    clients = [await visit(LOBBY, name) for name in names]
    for client in clients:
        await client.receive_until("welcome")
    return clients


def texts(events: list[Event]) -> list[str]:
    return [event["text"] for event in events if event["type"] == "message"]


async def test_welcome_is_the_first_event(visit: Visit) -> None:
    """The welcome names the room, the user, and the number of the latest message."""
    await sync_to_async(store)("1")
    ann = await visit(LOBBY)
    assert await ann.receive() == {
        "type": "welcome",
        "room": "lobby",
        "user": "ann",
        "user_id": await sync_to_async(id_of)("ann"),
        "seq": 1,
    }


async def test_message_reaches_everyone_in_the_room(visit: Visit) -> None:
    """Sender and others receive the stored message, and other rooms receive nothing."""
    ann, bob = await enter(visit, "ann", "bob")
    cem = await visit("/ws/chat/attic/", "cem")
    await cem.receive_until("welcome")
    await ann.send(type="send", ref="a1", text="hi 👋 <b>\u202e")
    event = await ann.receive()
    stored = await Message.objects.aget()
    assert event == await bob.receive() == stored.event()
    assert (event["seq"], event["ref"], event["user"]) == (1, "a1", "ann")
    assert event["user_id"] == await sync_to_async(id_of)("ann")
    assert event["text"] == "hi 👋 <b>\u202e"
    assert await cem.receives_nothing()


async def test_resent_message_is_stored_once(visit: Visit) -> None:
    """A repeated `ref` of a user is answered with the stored message. Others receive nothing."""
    ann, bob = await enter(visit, "ann", "bob")
    await ann.send(type="send", ref="same", text="hi")
    first = await ann.receive()
    await ann.send(type="send", ref="same", text="hi again")
    assert await ann.receive() == first
    assert await bob.receive() == first
    assert await bob.receives_nothing()
    await bob.send(type="send", ref="same", text="hi too")
    assert [(await bob.receive())["seq"], await Message.objects.acount()] == [2, 2]


async def test_concurrent_messages_are_numbered_without_a_gap(visit: Visit) -> None:
    """Messages of several users at once get consecutive numbers, and arrive in their order."""
    clients = await enter(visit, *(f"user-{number}" for number in range(8)))
    for number in range(5):
        for client in clients:
            await client.send(type="send", ref=str(number), text="hi")
    for client in clients:
        assert [(await client.receive())["seq"] for _ in range(40)] == list(range(1, 41))


async def test_latest_messages_greet_a_newcomer(visit: Visit) -> None:
    """Without `after` the latest 50 messages are replayed."""
    for number in range(1, 53):
        await sync_to_async(store)(str(number))
    ann = await visit(LOBBY)
    events = [await ann.receive() for _ in range(51)]
    assert texts(events) == [str(number) for number in range(3, 53)]
    assert await ann.receives_nothing()


@pytest.mark.parametrize(
    ("after", "missed"), [("0", ["1", "2", "3"]), ("2", ["3"]), ("3", []), ("9" * 5000, [])]
)
async def test_missed_messages_are_replayed(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, after: str, missed: list[str]
) -> None:
    """`after` replays exactly the later messages, however few rows are read at a time."""
    monkeypatch.setattr(models, "ROWS", 2)
    for text in ("1", "2", "3"):
        await sync_to_async(store)(text)
    ann = await visit(f"{LOBBY}?after={after}")
    events = [await ann.receive() for _ in range(1 + len(missed))]
    assert texts(events) == missed
    assert await ann.receives_nothing()


@pytest.mark.parametrize("after", ["x", "-1", "", "1.5", "\uff11"])
async def test_invalid_after_is_refused(visit: Visit, after: str) -> None:
    """The client receives an error and the latest messages."""
    await sync_to_async(store)("1")
    ann = await visit(f"{LOBBY}?after={after}")
    events = [await ann.receive() for _ in range(3)]
    assert [event["type"] for event in events] == ["welcome", "error", "message"]
    assert (events[1]["code"], events[1]["ref"]) == ("bad_message", None)


async def test_presence_lists_the_users_of_the_room(visit: Visit) -> None:
    """A newcomer receives the list, and the others receive each change."""
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    event = await ann.wait_for_users("ann", "bob")
    assert event == await bob.wait_for_users("ann", "bob")
    ids = {name: await sync_to_async(id_of)(name) for name in ("ann", "bob")}
    users = [{"user": name, "user_id": ids[name]} for name in ids]
    assert event == {"type": "presence", "users": users, "count": 2}


async def test_typing_is_shown_to_the_others(visit: Visit) -> None:
    """A `typing` event is not stored, and does not return to its sender."""
    ann, bob = await enter(visit, "ann", "bob")
    await ann.send(type="typing")
    ann_id = await sync_to_async(id_of)("ann")
    assert await bob.receive() == {"type": "typing", "user": "ann", "user_id": ann_id}
    assert await ann.receives_nothing()
    assert await Room.objects.acount() == 0


@pytest.mark.parametrize(
    ("event", "code", "ref"),
    [
        ({"ref": "r", "text": ""}, "bad_message", "r"),
        ({"ref": "r", "text": " \n"}, "bad_message", "r"),
        ({"ref": "r"}, "bad_message", "r"),
        ({"ref": "r", "text": 1}, "bad_message", "r"),
        ({"ref": "r", "text": "a\0b"}, "bad_message", "r"),
        ({"ref": "r", "text": "\ud800"}, "bad_message", "r"),
        ({"ref": "r", "text": "x" * 4001}, "too_long", "r"),
        ({"ref": "", "text": "x"}, "bad_message", None),
        ({"ref": "r" * 65, "text": "x"}, "bad_message", None),
        ({"ref": 1, "text": "x"}, "bad_message", None),
        ({"ref": "\ud800", "text": "x"}, "bad_message", None),
        ({"text": "x"}, "bad_message", None),
        ({"type": "dance"}, "unknown_type", None),
        ({"type": "dance", "ref": "r"}, "unknown_type", "r"),
    ],
)
async def test_invalid_event_is_refused(
    visit: Visit, event: dict[str, Any], code: str, ref: str | None
) -> None:
    """The error names the `ref` if there is one, and nothing is stored."""
    (ann,) = await enter(visit, "ann")
    await ann.send(**{"type": "send", **event})
    error = await ann.receive()
    assert (error["type"], error["code"], error["ref"]) == ("error", code, ref)
    assert await Message.objects.acount() == 0


async def test_longest_text_and_ref_are_stored(visit: Visit) -> None:
    """The limits themselves are allowed."""
    (ann,) = await enter(visit, "ann")
    await ann.send(type="send", ref="r" * 64, text="😀" * 4000)
    assert (await ann.receive())["text"] == "😀" * 4000


@pytest.mark.parametrize("name", ["café", "日本語", "a b", "user:1", "a%2Fb", "👋", "x" * 64, "-"])
async def test_room_may_have_any_name(visit: Visit, name: str) -> None:
    """A room has 1 to 64 characters of any script."""
    ann = await visit(f"/ws/chat/{quote(name)}/")
    assert (await ann.receive())["room"] == name


@pytest.mark.parametrize("name", [*BAD_NAMES, "", "a/b", "a\0b"])
async def test_invalid_room_is_not_found(visit: Visit, name: str) -> None:
    """An invalid room is closed as an unknown path is."""
    ann = await visit(f"/ws/chat/{quote(name)}/")
    assert (ann.connected, await ann.close_code()) == (True, 4404)


async def test_names_that_look_the_same_are_one_room(visit: Visit) -> None:
    """A name is normalized, so that a decomposed accent leads to the same room."""
    ann = await visit("/ws/chat/cafe%CC%81/")
    assert (await ann.receive())["room"] == "café"


async def test_user_creates_a_number_of_rooms_a_day(visit: Visit, settings: Settings) -> None:
    """One more room is refused with the time to wait, and existing rooms stay open to everyone."""
    settings.CHAT_ROOMS_PER_DAY = 1
    ann, bob = await enter(visit, "ann", "bob")
    await ann.send(type="send", ref="a1", text="hi")
    await ann.receive_until("message")
    elsewhere = await visit("/ws/chat/attic/")
    await elsewhere.receive_until("welcome")
    await elsewhere.send(type="send", ref="a2", text="hi")
    error = await elsewhere.receive()
    assert 0 < error.pop("retry_after") <= 24 * 3600
    detail = "You may create 1 room a day. Use an existing room, or try again later."
    assert error == {"type": "error", "code": "rate_limited", "detail": detail, "ref": "a2"}
    assert await Room.objects.acount() == 1
    await ann.send(type="send", ref="a3", text="hi")
    await ann.receive_until("message")
    await bob.send(type="send", ref="b1", text="hi")
    assert [(await bob.receive())["ref"] for _ in range(3)] == ["a1", "a3", "b1"]
