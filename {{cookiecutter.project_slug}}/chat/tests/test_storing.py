"""Messages that are stored together."""

from concurrent.futures import ThreadPoolExecutor
from itertools import batched

import pytest
from django.db import connections, transaction
from pytest_django import Settings

from chat import models
from chat.models import Message, Room, store_message, store_messages
from chat.tests.helpers import draft, store
from realtime.protocol import EventError

pytestmark = pytest.mark.django_db(transaction=True)


def stored(room: str = "lobby") -> list[tuple[int, str]]:
    """Return the messages of a room, with their numbers."""
    return list(Message.objects.filter(room__name=room).values_list("seq", "text"))


def test_messages_of_a_batch_are_numbered_by_room() -> None:
    """Each room goes on from its latest number, in the order of the batch."""
    store("0")
    rooms = ["lobby", "attic", "lobby", "attic", "lobby"]
    results = store_messages([draft(str(n), room=room) for n, room in enumerate(rooms, 1)])
    assert [(message.seq, new) for message, new in results] == [
        (2, True),
        (1, True),
        (3, True),
        (2, True),
        (4, True),
    ]
    assert stored() == [(1, "0"), (2, "1"), (3, "3"), (4, "5")]
    assert stored("attic") == [(1, "2"), (2, "4")]
    assert dict(Room.objects.values_list("name", "seq")) == {"lobby": 4, "attic": 2}
    assert [message.event() for message, _ in results[::2]] == [
        message.event() for message in Message.objects.filter(room__name="lobby", seq__gt=1)
    ]


def test_ref_is_stored_once_within_a_batch() -> None:
    """The second message of the same `ref` is the first one, and others keep their numbers."""
    first, other, again, ann = store_messages(
        [
            draft("hi", ref="same"),
            draft("1"),
            draft("hi again", ref="same"),
            draft("hi too", ref="same", user="ann"),
        ]
    )
    assert [first[1], other[1], again[1], ann[1]] == [True, True, False, True]
    assert again[0] == first[0]
    assert stored() == [(1, "hi"), (2, "1"), (3, "hi too")]


def test_ref_that_was_stored_before_leaves_no_gap() -> None:
    """Messages that were sent again are looked up, whatever else is in the batch."""
    store("1")
    store("2", room="attic")
    results = store_messages([draft("3"), draft("1"), draft("2", room="attic"), draft("4")])
    assert [(message.seq, new) for message, new in results] == [
        (2, True),
        (1, False),
        (1, False),
        (3, True),
    ]
    assert stored() == [(1, "1"), (2, "3"), (3, "4")]
    assert stored("attic") == [(1, "2")]
    assert store_messages([draft("1")])[0] == (Message.objects.get(text="1"), False)


def test_refused_message_stores_nothing(settings: Settings) -> None:
    """A batch with one room too many is rolled back as a whole, to be tried in parts."""
    settings.CHAT_ROOMS_PER_DAY = 1
    with pytest.raises(EventError):
        store_messages([draft("1"), draft("2", room="attic"), draft("3")])
    assert not Room.objects.exists()
    store_messages([draft("1"), draft("2", room="attic", user="ann"), draft("3")])
    assert [stored(), stored("attic")] == [[(1, "1"), (2, "3")], [(1, "2")]]


def test_refused_message_refuses_no_other(settings: Settings) -> None:
    """Of messages that are sent at once, only those for rooms above the limit are refused."""
    settings.CHAT_ROOMS_PER_DAY = 1
    store("0")

    def send(number: int) -> str | None:
        room = "attic" if number % 2 else "lobby"
        try:
            store(str(number), room=room)
        except EventError as error:
            return error.ref
        finally:
            connections.close_all()
        return None

    with ThreadPoolExecutor(16) as threads:
        refused = list(threads.map(send, range(1, 33)))
    assert refused == [str(number) if number % 2 else None for number in range(1, 33)]
    assert [seq for seq, _ in stored()] == list(range(1, 18))
    assert not Room.objects.filter(name="attic").exists()


def test_batches_never_wait_in_a_circle(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """Processes that store in the same rooms, old and new, in any order, do not deadlock."""
    settings.CHAT_ROOMS_PER_DAY = 20
    monkeypatch.setattr(models, "LOCK_MS", 60_000)  # PostgreSQL reports a deadlock after a second
    rooms = [f"room {number}" for number in range(20)]
    store("0", room=rooms[7])

    def send(number: int) -> None:
        order = rooms if number % 2 else rooms[::-1]
        try:
            for part in batched(order, 10 + number):
                store_messages([draft(str(number), room=room) for room in part])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, range(1, 9)))
    for room in rooms:
        assert [seq for seq, _ in stored(room)] == list(range(1, 10 if room == rooms[7] else 9))


def test_message_of_a_transaction_is_rolled_back_with_it() -> None:
    """In an open transaction a message is stored at once. A repeated `ref` does not break it."""
    store("1")
    with transaction.atomic():
        assert store_message(draft("2"))[1]
        assert not store_message(draft("1"))[1]
        assert stored() == [(1, "1"), (2, "2")]
        transaction.set_rollback(True)
    assert stored() == [(1, "1")]
