"""Deletion of what has expired, and journals that continue with what is left."""

from datetime import timedelta
from io import StringIO

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.utils import timezone

from engine.models import Entry, Journal
from realtime.management.commands.cleanup import BATCH

PATH = "/ws/journal/a/"


def fill(count, expired):
    """Store entries 1 to `count` of the journal "a". The first ones have expired."""
    journal = Journal.objects.create(name="a", seq=count)
    old, young = (timezone.now() - timedelta(days=days) for days in (31, 29))
    Entry.objects.bulk_create(
        Entry(journal=journal, seq=seq, author="bob", ref=str(seq), at=old if seq <= expired else young)
        for seq in range(1, count + 1)
    )


def cleanup():
    output = StringIO()
    call_command("cleanup", stdout=output)
    return output.getvalue()


@pytest.mark.django_db
def test_expired_rows_are_deleted():
    """Rows that a model's `expired()` returns are deleted, and the others stay."""
    fill(5, 3)
    assert "Deleted 3 entries." in cleanup()
    assert list(Entry.objects.values_list("seq", flat=True)) == [4, 5]
    assert "Deleted 0 entries." in cleanup()


@pytest.mark.django_db
def test_rows_are_deleted_in_batches(monkeypatch):
    """Each transaction deletes a bounded number of rows, and a pause follows."""
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    fill(2 * BATCH + 1, 2 * BATCH + 1)
    assert f"Deleted {2 * BATCH + 1} entries." in cleanup()
    assert len(pauses) == 3
    assert not Entry.objects.exists()


@pytest.mark.django_db
def test_expired_sessions_are_deleted():
    """Expired sessions are deleted, and valid ones stay."""
    for days in (-1, 1):
        session = SessionStore()
        session.set_expiry(timezone.now() + timedelta(days=days))
        session.save()
    cleanup()
    assert [left.expire_date > timezone.now() for left in Session.objects.all()] == [True]


@pytest.mark.django_db
def test_sessions_are_deleted_in_batches(monkeypatch):
    """However many have expired, few are in memory at once, although each deletion has a receiver."""
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    end = timezone.now() - timedelta(days=1)
    Session.objects.bulk_create(Session(session_key=str(key), expire_date=end) for key in range(2 * BATCH + 1))
    assert f"Deleted {2 * BATCH + 1} sessions." in cleanup()
    assert len(pauses) == 3
    assert not Session.objects.exists()


@pytest.mark.parametrize(
    ("expired", "after", "replayed"),
    [(3, 0, [4, 5]), (3, 4, [5]), (5, 0, []), (5, 1, [])],
)
async def test_numbers_continue_after_a_deletion(visit, expired, after, replayed):
    """The remaining events are replayed, and the next event has the next number, for old and new members."""
    await sync_to_async(fill)(5, expired)
    ann = await visit(f"{PATH}?after=5")
    await ann.receive_until("welcome")
    await sync_to_async(cleanup)()
    bob = await visit(f"{PATH}?after={after}", "bob")
    events = [await bob.receive() for _ in range(1 + len(replayed))]
    assert events[0]["seq"] == 5
    assert [event["seq"] for event in events[1:]] == replayed
    await bob.send(type="append", ref="new", text="hi")
    assert (await bob.receive())["seq"] == (await ann.receive())["seq"] == 6


async def test_long_gap_includes_deleted_events(visit):
    """A `gap` is announced though its events were deleted. The client finds what is left in the history."""
    await sync_to_async(fill)(510, 505)
    await sync_to_async(cleanup)()
    ann = await visit(f"{PATH}?after=1")
    events = [await ann.receive() for _ in range(7)]
    assert events[1] == {"type": "gap", "after": 1, "before": 11}
    assert [event["seq"] for event in events[2:]] == [506, 507, 508, 509, 510]
