"""The chat over its socket, as the wire contract says."""

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from pytest_django import Settings

from chat import models
from chat.models import Message, Room, store_message
from realtime import history
from tests.conftest import Visit
from tests.visitor import Event


async def store(count: int, room: str = "lobby") -> None:
    """Store messages "1", "2", … of bob."""
    for number in range(1, count + 1):
        await sync_to_async(store_message)(room, "bob", f"b{number}", str(number))


def texts(events: list[Event]) -> list[str]:
    return [event["text"] for event in events if event["type"] == "message"]


async def test_the_first_event_is_a_welcome(visit: Visit) -> None:
    """A client learns where it is, who it is, and the number of the latest message."""
    await store(2)
    ann = await visit("/ws/chat/lobby/")
    welcome = await ann.receive()
    assert welcome.pop("user_id")
    assert welcome == {"type": "welcome", "room": "lobby", "user": "ann", "seq": 2}


async def test_two_people_talk(visit: Visit) -> None:
    """What one says reaches both, numbered, and acknowledges the sender's `ref`."""
    ann, bob = await visit("/ws/chat/lobby/"), await visit("/ws/chat/lobby/", "bob")
    await ann.receive_until("welcome")
    await bob.receive_until("welcome")
    await ann.send(type="send", ref="a1", text="hi 👋 <b>\u202e")
    heard = await ann.receive()
    stored = await Message.objects.aget()
    assert heard == await bob.receive() == stored.event()
    assert heard == {
        "type": "message",
        "seq": 1,
        "ref": "a1",
        "user": "ann",
        "text": "hi 👋 <b>\u202e",
        "at": heard["at"],
    }


async def test_rooms_do_not_hear_each_other(visit: Visit) -> None:
    """What is said in one room stays there."""
    ann, bob = await visit("/ws/chat/lobby/"), await visit("/ws/chat/attic/", "bob")
    await ann.receive_until("welcome")
    await bob.receive_until("welcome")
    await ann.send(type="send", ref="a1", text="hi")
    await ann.receive_until("message")
    assert await bob.hears_nothing()


async def test_a_resent_message_is_stored_once(visit: Visit) -> None:
    """The same `ref` gets the stored message back, and nobody else hears it again."""
    ann, bob = await visit("/ws/chat/lobby/"), await visit("/ws/chat/lobby/", "bob")
    await ann.receive_until("welcome")
    await bob.receive_until("welcome")
    await ann.send(type="send", ref="a1", text="hi")
    first = await ann.receive()
    await ann.send(type="send", ref="a1", text="hi again")
    assert await ann.receive() == first
    assert await bob.receive() == first
    assert await bob.hears_nothing()
    assert await Message.objects.acount() == 1


async def test_many_speak_at_once(visit: Visit) -> None:
    """Each gets a number of its own, without a gap, in the order in which all hear it."""
    names = [f"user-{number}" for number in range(8)]
    visitors = [await visit("/ws/chat/lobby/", name) for name in names]
    for visitor in visitors:
        await visitor.receive_until("welcome")
    for number in range(5):
        for visitor in visitors:
            await visitor.send(type="send", ref=str(number), text="hi")
    for visitor in visitors:
        assert [(await visitor.receive())["seq"] for _ in range(40)] == list(range(1, 41))


async def test_two_people_may_use_the_same_ref(visit: Visit) -> None:
    """A `ref` is the sender's own."""
    ann, bob = await visit("/ws/chat/lobby/"), await visit("/ws/chat/lobby/", "bob")
    await ann.receive_until("welcome")
    await bob.receive_until("welcome")
    await ann.send(type="send", ref="same", text="hi")
    await bob.receive_until("message")
    await bob.send(type="send", ref="same", text="hi too")
    assert [(await bob.receive())["seq"], await Message.objects.acount()] == [2, 2]


async def test_the_last_messages_greet_who_says_nothing(visit: Visit) -> None:
    """Without `after` the latest 50 are replayed."""
    await store(52)
    ann = await visit("/ws/chat/lobby/")
    events = [await ann.receive() for _ in range(51)]
    assert texts(events) == [str(number) for number in range(3, 53)]
    assert await ann.hears_nothing()


@pytest.mark.parametrize(("after", "missed"), [("0", ["1", "2", "3"]), ("2", ["3"]), ("3", [])])
async def test_what_was_missed_is_replayed(visit: Visit, after: str, missed: list[str]) -> None:
    """With `after` exactly the later messages come."""
    await store(3)
    ann = await visit("/ws/chat/lobby/", query=f"after={after}")
    events = [await ann.receive() for _ in range(1 + len(missed))]
    assert texts(events) == missed
    assert await ann.hears_nothing()


async def test_a_large_after_is_as_good_as_the_latest(visit: Visit) -> None:
    """A number beyond what a database holds is still a number."""
    await store(1)
    ann = await visit("/ws/chat/lobby/", query=f"after={'9' * 5000}")
    await ann.receive_until("welcome")
    assert await ann.hears_nothing()


@pytest.mark.parametrize("after", ["x", "-1", "", "1.5", "\uff11"])
async def test_an_after_that_is_no_number_is_refused(visit: Visit, after: str) -> None:
    """The client is told, and gets the latest messages."""
    await store(1)
    ann = await visit("/ws/chat/lobby/", query=f"after={after}")
    events = [await ann.receive() for _ in range(3)]
    assert [event["type"] for event in events] == ["welcome", "error", "message"]
    assert (events[1]["code"], events[1]["ref"]) == ("bad_message", None)


async def test_a_long_absence_leaves_a_gap(visit: Visit) -> None:
    """More than 500 missed messages: the newest come, and the rest is named."""
    await Room.objects.acreate(name="lobby", seq=503)
    room = await Room.objects.aget()
    await Message.objects.abulk_create(
        Message(room=room, seq=seq, user_name="bob", ref=str(seq), text=str(seq))
        for seq in range(1, 504)
    )
    ann = await visit("/ws/chat/lobby/", query="after=1")
    events = [await ann.receive() for _ in range(502)]
    assert events[1] == {"type": "gap", "after": 1, "before": 4}
    assert texts(events) == [str(seq) for seq in range(4, 504)]


async def test_a_replay_is_bounded_in_bytes(visit: Visit, settings: Settings) -> None:
    """The newest that fit come, at least one, and the rest is named."""
    for number in range(1, 5):
        await sync_to_async(store_message)("lobby", "bob", str(number), "🐌" * 1000)
    for limit, first in ((9000, 3), (8000, 4), (1, 4)):
        settings.REALTIME_MAX_REPLAY_BYTES = limit
        ann = await visit("/ws/chat/lobby/", query="after=1")
        events = [await ann.receive() for _ in range(7 - first)]
        assert events[1] == {"type": "gap", "after": 1, "before": first}
        assert [event["seq"] for event in events[2:]] == list(range(first, 5))
        assert await ann.hears_nothing()


async def test_a_long_replay_comes_in_chunks(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is complete and in order, and what is said meanwhile follows."""
    monkeypatch.setattr(history, "CHUNK_BYTES", 300)
    monkeypatch.setattr(models, "ROWS", 2)
    await store(20)
    ann = await visit("/ws/chat/lobby/", query="after=3")
    await ann.send(type="send", ref="a1", text="21")
    await ann.receive_until("welcome")
    assert texts([await ann.receive() for _ in range(18)]) == list(map(str, range(4, 22)))
    assert await ann.hears_nothing()


async def test_a_message_is_stored_while_the_channel_layer_is_away(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broadcast fails, the socket stays open, and the resend is acknowledged."""
    ann = await visit("/ws/chat/lobby/")
    await ann.receive_until("welcome")

    async def fail(*_: object) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(get_channel_layer(), "group_send", fail)
    await ann.send(type="send", ref="a1", text="hi")
    assert await ann.hears_nothing()
    await ann.send(type="send", ref="a1", text="hi")
    assert (await ann.receive())["ref"] == "a1"


async def test_typing_is_shown_to_the_others(visit: Visit) -> None:
    """It is not stored, and does not come back."""
    ann, bob = await visit("/ws/chat/lobby/"), await visit("/ws/chat/lobby/", "bob")
    await ann.receive_until("welcome")
    await bob.receive_until("welcome")
    await ann.send(type="typing")
    typing = await bob.receive()
    assert typing.pop("user_id")
    assert typing == {"type": "typing", "user": "ann"}
    assert await ann.hears_nothing()
    assert await Room.objects.acount() == 0


@pytest.mark.parametrize(
    ("event", "code", "ref"),
    [
        ({"ref": "r", "text": ""}, "bad_message", "r"),
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
    ],
)
async def test_a_bad_send_is_refused(
    visit: Visit, event: Event, code: str, ref: str | None
) -> None:
    """The error names the `ref` where there is one, and nothing is stored."""
    ann = await visit("/ws/chat/lobby/")
    await ann.receive_until("welcome")
    await ann.send(type="send", **event)
    error = await ann.receive()
    assert (error["type"], error["code"], error["ref"]) == ("error", code, ref)
    assert await Message.objects.acount() == 0


async def test_the_longest_text_and_ref_are_stored(visit: Visit) -> None:
    """The limits themselves are inside."""
    ann = await visit("/ws/chat/lobby/")
    await ann.receive_until("welcome")
    await ann.send(type="send", ref="r" * 64, text="😀" * 4000)
    assert (await ann.receive())["text"] == "😀" * 4000


@pytest.mark.parametrize("name", ["café", "日本語", "a b", "user:1", "a%2Fb", "👋", "x" * 64, "-"])
async def test_a_room_may_have_any_name(visit: Visit, name: str) -> None:
    """It is 1 to 64 characters of any script."""
    ann = await visit(f"/ws/chat/{name}/")
    assert (await ann.receive())["room"] == name


@pytest.mark.parametrize("path", ["x" * 65, ".", "..", "a\0b", "a\nb", "a\x7fb", "", "a/b"])
async def test_what_cannot_be_a_room_is_not_found(visit: Visit, path: str) -> None:
    """It is closed as an unknown path is."""
    ann = await visit(f"/ws/chat/{path}/")
    assert (ann.opened, await ann.close_code()) == (True, 4404)
