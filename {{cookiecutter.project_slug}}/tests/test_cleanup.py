"""Retention: what expires is deleted, and rooms go on with what is left."""

from datetime import timedelta
from io import StringIO

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from chat.models import Message, Room
from realtime.management.commands.cleanup import BATCH
from tests.conftest import Visit
from tests.people import client_of

DAYS = 30


@pytest.fixture(autouse=True)
def retention(settings: Settings) -> None:
    settings.MESSAGE_RETENTION_DAYS = DAYS


def fill(count: int, expired: int, name: str = "lobby") -> None:
    """Store messages 1 to `count` in a room; the first ones are older than the retention."""
    room = Room.objects.create(name=name, seq=count)
    now = timezone.now()
    for seq in range(1, count + 1):
        days = DAYS + 1 if seq <= expired else DAYS - 1
        at = now - timedelta(days=days)
        Message.objects.create(room=room, seq=seq, user_name="bob", ref=str(seq), text="x", at=at)


def cleanup() -> str:
    output = StringIO()
    call_command("cleanup", stdout=output)
    return output.getvalue()


def seqs() -> list[int]:
    return list(Message.objects.values_list("seq", flat=True))


@pytest.mark.django_db
def test_expired_messages_are_deleted() -> None:
    """Those that are younger stay, and every room, also one without messages."""
    fill(5, 3)
    fill(2, 2, "attic")
    assert "Deleted 5 messages." in cleanup()
    assert seqs() == [4, 5]
    assert dict(Room.objects.values_list("name", "seq")) == {"attic": 2, "lobby": 5}
    assert "Deleted 0 messages." in cleanup()


@pytest.mark.django_db
def test_messages_are_kept_without_a_retention(settings: Settings) -> None:
    """Zero means for ever."""
    settings.MESSAGE_RETENTION_DAYS = 0
    fill(2, 2)
    assert "Deleted 0 messages." in cleanup()
    assert seqs() == [1, 2]


@pytest.mark.django_db
def test_many_messages_are_deleted_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction is long, and there is a pause between two."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    room = Room.objects.create(name="lobby", seq=2 * BATCH + 1)
    at = timezone.now() - timedelta(days=DAYS + 1)
    Message.objects.bulk_create(
        Message(room=room, seq=seq, user_name="bob", ref=str(seq), text="x", at=at)
        for seq in range(1, 2 * BATCH + 2)
    )
    assert f"Deleted {2 * BATCH + 1} messages." in cleanup()
    assert len(pauses) == 3
    assert not Message.objects.exists()


@pytest.mark.django_db
def test_expired_sessions_are_deleted(settings: Settings) -> None:
    """Sessions that are still valid stay."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    for days in (-1, 1):
        session = SessionStore()
        session.set_expiry(timezone.now() + timedelta(days=days))
        session.save()
    cleanup()
    assert [left.expire_date > timezone.now() for left in Session.objects.all()] == [True]


@pytest.mark.django_db
def test_the_history_begins_later() -> None:
    """Portions in both directions end at what is left."""
    fill(6, 3)
    cleanup()
    client = client_of("ann")
    for query, expected in (
        ({"after": 0, "limit": 2}, ([4, 5], True)),
        ({"after": 2, "limit": 9}, ([4, 5, 6], False)),
        ({"before": 9, "limit": 2}, ([5, 6], True)),
        ({"before": 5, "limit": 9}, ([4], False)),
        ({"before": 4, "limit": 9}, ([], False)),
    ):
        page = client.get("/chat/lobby/messages/", query).json()
        assert ([message["seq"] for message in page["messages"]], page["more"]) == expected


@pytest.mark.parametrize(
    ("expired", "query", "replayed"),
    [(3, "", [4, 5]), (3, "after=0", [4, 5]), (3, "after=4", [5]), (5, "", []), (5, "after=1", [])],
)
async def test_a_room_goes_on(visit: Visit, expired: int, query: str, replayed: list[int]) -> None:
    """What is left is replayed, and the next message has the next number, also for who stayed."""
    await sync_to_async(fill)(5, expired)
    ann = await visit("/ws/chat/lobby/", query="after=5")
    await ann.receive_until("welcome")
    await sync_to_async(cleanup)()
    bob = await visit("/ws/chat/lobby/", "bob", query=query)
    events = [await bob.receive() for _ in range(1 + len(replayed))]
    assert events[0]["seq"] == 5
    assert [event["seq"] for event in events[1:]] == replayed
    await bob.send(type="send", ref="new", text="hi")
    assert (await bob.receive())["seq"] == (await ann.receive())["seq"] == 6


async def test_a_long_gap_is_named_though_it_was_deleted(visit: Visit) -> None:
    """A client asks the history for it, and finds what is left."""
    await sync_to_async(fill)(510, 505)
    await sync_to_async(cleanup)()
    ann = await visit("/ws/chat/lobby/", query="after=1")
    events = [await ann.receive() for _ in range(7)]
    assert events[1] == {"type": "gap", "after": 1, "before": 11}
    assert [event["seq"] for event in events[2:]] == [506, 507, 508, 509, 510]
