"""Messages older than MESSAGE_RETENTION_DAYS."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from chat.models import Message, Room
from chat.tests.helpers import store
from tests.people import client_of


def cleanup() -> str:
    output = StringIO()
    call_command("cleanup", stdout=output)
    return output.getvalue()


@pytest.fixture(autouse=True)
def messages(db: None, settings: Settings) -> None:
    """Store messages in the lobby, the first three of them a month ago, and one in the attic."""
    settings.MESSAGE_RETENTION_DAYS = 30
    for number in range(1, 7):
        store(str(number))
    store("old", room="attic")
    old = Message.objects.filter(text__in=["1", "2", "3", "old"])
    old.update(at=timezone.now() - timedelta(days=31))


def test_expired_messages_are_deleted() -> None:
    """Younger messages stay, and so does every room, also one without messages."""
    assert "Deleted 4 messages." in cleanup()
    assert list(Message.objects.values_list("seq", flat=True)) == [4, 5, 6]
    assert dict(Room.objects.values_list("name", "seq")) == {"attic": 1, "lobby": 6}
    assert "Deleted 0 messages." in cleanup()


def test_messages_are_kept_without_a_retention(settings: Settings) -> None:
    """Zero days keep all messages."""
    settings.MESSAGE_RETENTION_DAYS = 0
    assert "Deleted 0 messages." in cleanup()
    assert Message.objects.count() == 7


def test_history_begins_later() -> None:
    """Portions of the history in both directions end at what is left."""
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
