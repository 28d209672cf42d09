"""Rooms and the messages in them, numbered without a gap."""

from collections.abc import Collection, Iterator
from datetime import UTC
from typing import Any

from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone

from realtime.broadcast import group_name

ROWS = 64  # read at a time: the longest texts together are 1 MiB


class Room(models.Model):
    """A room, there since its first message."""

    name = models.CharField(max_length=64, unique=True)
    seq = models.PositiveBigIntegerField(default=0)  # of the latest message

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("room", args=[self.name])


class Message(models.Model):
    """What a user said in a room; `ref` is what the sender's client calls it."""

    room = models.ForeignKey(Room, models.CASCADE, related_name="messages")
    seq = models.PositiveBigIntegerField()
    user_name = models.CharField(max_length=150)
    ref = models.CharField(max_length=64)
    text = models.TextField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("seq",)
        constraints = (
            models.UniqueConstraint(fields=("room", "seq"), name="message_seq_once"),
            models.UniqueConstraint(fields=("room", "user_name", "ref"), name="message_ref_once"),
        )

    def __str__(self) -> str:
        return f"{self.user_name}: {self.text:.40}"

    def event(self) -> dict[str, Any]:
        """The message as clients see it."""
        return {
            "type": "message",
            "seq": self.seq,
            "ref": self.ref,
            "user": self.user_name,
            "text": self.text,
            "at": f"{self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{self.at.microsecond // 1000:03}Z",
        }


def room_group(room: str) -> str:
    """The group of those who are in the room."""
    return group_name("chat", room)


def store_message(room: str, user_name: str, ref: str, text: str) -> tuple[Message, bool]:
    """Store a message as the next of its room.

    Returns it and True, or the stored one and False if the user sent this `ref` before.
    """
    with transaction.atomic():
        # The lock makes the order of the numbers the order of the commits.
        locked, _ = Room.objects.select_for_update().get_or_create(name=room)
        stored = locked.messages.filter(user_name=user_name, ref=ref).first()
        if stored:
            return stored, False
        locked.seq += 1
        locked.save(update_fields=["seq"])
        return locked.messages.create(seq=locked.seq, user_name=user_name, ref=ref, text=text), True


def latest_seqs(rooms: Collection[str]) -> dict[str, int]:
    """The number of the latest message of each room that has one."""
    return dict(Room.objects.filter(name__in=rooms).order_by().values_list("name", "seq"))


def messages_after(room: str, after: int) -> Iterator[Message]:
    """Yield the messages with a greater number, oldest first."""
    messages = Message.objects.filter(room__name=room)
    while True:
        rows = list(messages.filter(seq__gt=after)[:ROWS])
        yield from rows
        if len(rows) < ROWS:
            return
        after = rows[-1].seq


def messages_before(room: str, before: int, after: int = 0) -> Iterator[Message]:
    """Yield the messages with `after < seq < before`, newest first."""
    messages = Message.objects.filter(room__name=room, seq__gt=after).order_by("-seq")
    while True:
        rows = list(messages.filter(seq__lt=before)[:ROWS])
        yield from rows
        if len(rows) < ROWS:
            return
        before = rows[-1].seq


def messages_between(room: str, after: int, until: int) -> Iterator[Message]:
    """Yield the messages with `after < seq <= until`, newest first."""
    return messages_before(room, until + 1, after)
