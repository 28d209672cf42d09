"""Texts of messages that are changed, as moderators do."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from chat import models
from chat.models import Message, find_edits
from chat.tests.helpers import store
from conftest import Visit
from realtime.protocol import encode

LOBBY = "/ws/chat/lobby/"


@sync_to_async
def store_and_edit(*numbers: int) -> None:
    """Store three messages in the lobby, and edit some of them one after the other."""
    for text in ("1", "2", "3"):
        store(text)
    for number in numbers:
        edit(number)


def edit(number: int, text: str = "removed") -> None:
    message = Message.objects.get(room__name="lobby", seq=number)
    message.text = text
    message.save()


def save(message: Message) -> None:
    message.save()


def save_the_text_alone(message: Message) -> None:
    message.save(update_fields=["text"])


def save_in_a_transaction(message: Message) -> None:
    with transaction.atomic():
        message.save()


@pytest.mark.parametrize("save", [save, save_the_text_alone, save_in_a_transaction])
async def test_changed_text_reaches_open_pages(
    visit: Visit, save: Callable[[Message], None]
) -> None:
    """Everyone in the room receives the new text, whose number is that of the message."""
    await store_and_edit()
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    elsewhere = await visit("/ws/chat/attic/", "bob")
    await elsewhere.receive_until("welcome")
    for client in (ann, bob):
        for _ in range(3):
            await client.receive_until("message")
    message = await Message.objects.select_related("room").aget(seq=2)
    message.text = "removed"
    await sync_to_async(save)(message)
    for client in (ann, bob):
        event = await client.receive()
        assert (event["type"], event["seq"], event["text"]) == ("edited", 2, "removed")
    assert await elsewhere.receives_nothing()
    await ann.send(type="send", ref="a1", text="hi")
    assert (await bob.receive())["seq"] == 4


@pytest.mark.django_db
@pytest.mark.parametrize("step", [0, -60])
def test_times_of_edits_grow(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later edit has the later time, even if the clock stands still or goes back.

    As in the admin, each has read the message before the others change it.
    """
    store("1")
    times, now = [], timezone.now()
    for number, message in enumerate([Message.objects.get() for _ in range(3)]):
        monkeypatch.setattr(timezone, "now", lambda by=number * step: now + timedelta(seconds=by))
        message.save()
        times.append(message.edited_event()["edited_at"])
    assert times == sorted(set(times))


async def test_edits_have_the_same_time_on_all_ways(visit: Visit) -> None:
    """Clients compare the times of the event, of its replay and of the message."""
    await store_and_edit()
    ann = await visit(f"{LOBBY}?after=3")
    await ann.receive_until("welcome")
    await sync_to_async(edit)(2)
    time = (await ann.receive())["edited_at"]
    bob = await visit(f"{LOBBY}?after=2", "bob")
    *_, replayed = await bob.receive_until("edited")
    cem = await visit(LOBBY, "cem")
    messages = [await cem.receive() for _ in range(4)][1:]
    assert replayed["edited_at"] == time
    assert [message.get("edited_at") for message in messages] == [None, time, None]


async def test_edit_that_is_rolled_back_is_not_sent(visit: Visit) -> None:
    """Pages show what is stored."""
    await store_and_edit()
    ann = await visit(f"{LOBBY}?after=3")
    await ann.receive_until("welcome")

    def fail() -> None:
        with transaction.atomic():
            edit(1)
            transaction.set_rollback(True)

    await sync_to_async(fail)()
    assert await ann.receives_nothing()


async def test_reconnect_replays_the_edits(visit: Visit) -> None:
    """The client receives the new texts of what it has, then what it missed."""
    await store_and_edit(3, 1)
    await sync_to_async(store)("elsewhere", room="attic")
    ann = await visit(f"{LOBBY}?after=2")
    events = [await ann.receive() for _ in range(3)]
    assert [event["type"] for event in events] == ["welcome", "edited", "message"]
    assert [(event["seq"], event["text"]) for event in events[1:]] == [
        (1, "removed"),
        (3, "removed"),
    ]
    assert await ann.receives_nothing()
    bob = await visit(f"{LOBBY}?after=3", "bob")
    events = [await bob.receive() for _ in range(3)]
    assert [event["seq"] for event in events] == [3, 1, 3]
    assert await bob.receives_nothing()


@pytest.mark.parametrize("query", ["", "?after=0"])
async def test_newcomer_receives_the_stored_texts(visit: Visit, query: str) -> None:
    """Without messages there is nothing to replace."""
    await store_and_edit(2)
    ann = await visit(f"{LOBBY}{query}")
    events = [await ann.receive() for _ in range(4)]
    assert [event.get("text") for event in events] == [None, "1", "removed", "3"]
    assert await ann.receives_nothing()


async def test_more_edits_than_are_sent_reset_the_page(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client drops its messages, and receives the latest as if it came for the first time."""
    monkeypatch.setattr(models, "MAX_EDITS", 2)
    await store_and_edit(1, 3, 2)
    ann = await visit(f"{LOBBY}?after=3")
    events = [await ann.receive() for _ in range(5)]
    assert [event["type"] for event in events] == ["welcome", "reset", *["message"] * 3]
    assert [event["text"] for event in events[2:]] == ["removed"] * 3
    assert await ann.receives_nothing()


async def test_edits_before_the_latest_message_reset_nothing(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that has the message has received the edits before it. The latest are sent."""
    monkeypatch.setattr(models, "MAX_EDITS", 2)
    await store_and_edit(1, 3, 2)
    await Message.objects.filter(seq=3).aupdate(at=timezone.now() + timedelta(minutes=2))
    ann = await visit(f"{LOBBY}?after=3")
    events = [await ann.receive() for _ in range(3)]
    assert [event["seq"] for event in events] == [3, 2, 3]
    assert await ann.receives_nothing()


@pytest.mark.django_db
def test_bytes_of_edits_are_bounded() -> None:
    """Texts that are long in JSON do not overflow the outbox of a client that reconnects slowly."""
    for number in range(1, 51):
        store(str(number))
        edit(number, "\x01" * 4000)
    assert find_edits([("lobby", 50)]) == [None]
    Message.objects.filter(seq=50).update(at=timezone.now() + timedelta(minutes=2))
    [edits] = find_edits([("lobby", 50)])
    assert edits is not None
    assert [event["seq"] for event in edits] == list(range(50, 50 - 21, -1))
    assert sum(len(encode(event)) for event in edits) < 512 * 1024


@pytest.mark.django_db
def test_rooms_without_edits_share_a_query(django_assert_num_queries: Any) -> None:
    """Each number of a room with edits takes one more. A client gets those of its own messages."""
    for room in ("lobby", "attic", "cellar"):
        store("1", room=room)
        store("2", room=room)
    edit(2)
    with django_assert_num_queries(3):
        edits = find_edits([("attic", 2), ("lobby", 2), ("cellar", 1), ("lobby", 1), ("lobby", 2)])
    edit_of_2 = [Message.objects.get(room__name="lobby", seq=2).edited_event()]
    assert edits == [[], edit_of_2, [], [], edit_of_2]
