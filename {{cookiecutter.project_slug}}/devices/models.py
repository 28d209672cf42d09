"""Devices, their readings, and the commands to them."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.validators import ProhibitNullCharactersValidator, RegexValidator
from django.db import models, transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from devices.messages import MAX_TEXT, NAME
from realtime.broadcast import group_name, publish
from realtime.feeds.models import latest_seqs
from realtime.history import History
from realtime.keyset import iterate

DEVICES = group_name("devices", "all")  # the group of the list
RETRY = timedelta(seconds=10)  # until a command that was not delivered is sent again
COMMANDS = 10  # the latest ones, which a page shows


class Device(models.Model):
    """Device, created by its first message. `name` is its id in topics."""

    name = models.CharField(max_length=64, unique=True, validators=[RegexValidator(NAME)])
    is_online = models.BooleanField(default=False, editable=False)
    seen_at = models.DateTimeField(null=True, editable=False)  # when a message was stored
    value = models.FloatField(null=True, editable=False)  # of the latest reading

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("device", args=[self.name])

    @property
    def feed(self) -> str:
        """Name of the feed that numbers the readings, and of the group of the device's page."""
        return feed_of(self.name)

    def state_event(self) -> dict[str, Any]:
        """Return the event that lists and pages get about the device itself."""
        seen = text_of(self.seen_at) if self.seen_at else None
        fields = {"online": self.is_online, "value": self.value, "seen": seen}
        return {"type": "state", "device": self.name, **fields}


class Reading(models.Model):
    """Value that a device measured. `number` is the device's own, `seq` that of its feed."""

    device = models.ForeignKey(Device, models.CASCADE, related_name="readings", db_index=False)
    number = models.PositiveBigIntegerField()
    seq = models.PositiveBigIntegerField()
    value = models.FloatField()
    at = models.DateTimeField()
    stored_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("device", "number"), name="reading_number_once"),
            models.UniqueConstraint(fields=("device", "seq"), name="reading_seq_once"),
        )

    def __str__(self) -> str:
        return f"{self.number}: {self.value:g}"

    @classmethod
    def expired(cls) -> models.QuerySet["Reading"]:
        """Return readings older than DEVICES_DAYS, for `manage.py cleanup` to delete."""
        oldest = timezone.now() - timedelta(days=settings.DEVICES_DAYS)
        return cls.objects.filter(stored_at__lt=oldest).order_by("stored_at")

    def event(self) -> dict[str, Any]:
        """Return the event that the page of the device gets."""
        fields = {"number": self.number, "value": self.value, "at": text_of(self.at)}
        return {"type": "reading", "seq": self.seq, **fields}


class State(models.TextChoices):
    """State of a command."""

    WAITING = "waiting", "Waiting"
    SENT = "sent", "Sent"
    DELIVERED = "delivered", "Delivered"
    ANSWERED = "answered", "Answered"


class Command(models.Model):
    """Command to a device. The bridge sends it while the device is online, until it is delivered.

    A device may get it twice, and knows it by its id.
    """

    device = models.ForeignKey(Device, models.CASCADE, related_name="commands", db_index=False)
    text = models.CharField(max_length=MAX_TEXT, validators=[ProhibitNullCharactersValidator()])
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    answer = models.CharField(max_length=MAX_TEXT, default="")
    user_name = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now)
    claimed_at = models.DateTimeField(null=True)  # when a bridge sent it, or was about to
    delivered_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            models.Index(fields=("device", "id"), name="command_device"),
            models.Index(
                fields=("id",), condition=Q(state__in=("waiting", "sent")), name="command_open"
            ),
        )

    def __str__(self) -> str:
        return f"{self.text:.40}"

    def event(self) -> dict[str, Any]:
        """Return the event that the page of the device gets."""
        return {
            "type": "command",
            "id": self.pk,
            "text": self.text,
            "state": self.state,
            "answer": self.answer,
            "user": self.user_name,
            "at": text_of(self.created_at),
        }


class ReadingHistory(History):
    """Readings of a device. The key is its name."""

    @staticmethod
    def latest(names: Collection[str], /) -> dict[str, int]:
        seqs = latest_seqs([feed_of(name) for name in names])
        return {name: seqs.get(feed_of(name), 0) for name in names}

    def between(self, after: int, until: int) -> Iterator[Mapping[str, Any]]:
        readings = Reading.objects.filter(device__name=self.key, seq__gt=after, seq__lte=until)
        return (reading.event() for reading in iterate(readings, "-seq"))


def feed_of(name: str) -> str:
    """Return the name of the feed of a device."""
    return group_name("devices", f"device {name}")


def text_of(at: datetime) -> str:
    """Return a time as events and topics have it."""
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def find_device(name: str) -> Device | None:
    return Device.objects.filter(name=name).first()


def look(names: Collection[str]) -> dict[str, Any]:
    """Return an event with the devices of these names, as they are now."""
    devices = Device.objects.filter(name__in=names)
    return {"type": "devices", "devices": [device.state_event() for device in devices]}


def state_events(name: str) -> list[dict[str, Any]]:
    """Return the events about a device and the latest commands to it, oldest first."""
    commands = Command.objects.filter(device__name=name).order_by("-pk")[:COMMANDS]
    devices = Device.objects.filter(name=name)
    return [one.state_event() for one in devices] + [one.event() for one in reversed(commands)]


def send_command(device: Device, text: str, user_name: str) -> Command:
    """Store a command, which the bridge sends within a second if the device is online."""
    command = Command.objects.create(device=device, text=text, user_name=user_name)
    publish(device.feed, command.event(), numbered=False)
    return command


def claim_commands(most: int) -> list[Command]:
    """Return commands to send now. For ten seconds no other bridge gets them."""
    free = Q(claimed_at=None) | Q(claimed_at__lt=timezone.now() - RETRY)
    commands = Command.objects.filter(
        free, state__in=(State.WAITING, State.SENT), device__is_online=True
    )
    if not commands.exists():  # without a transaction, which would lock an SQLite database
        return []
    with transaction.atomic():
        rows = commands.select_related("device").order_by("pk")
        claimed = list(rows.select_for_update(of=("self",), skip_locked=True)[:most])
        keys = [command.pk for command in claimed]
        Command.objects.filter(pk__in=keys).update(claimed_at=timezone.now())
    return claimed


def change_command(name: str, key: int, before: Collection[State], **changes: Any) -> bool:
    """Change a command to a device if its state is one of `before`, and publish it."""
    found = Command.objects.filter(pk=key, device__name=name, state__in=before)
    if not found.update(**changes):
        return False
    publish(feed_of(name), Command.objects.get(pk=key).event(), numbered=False)
    return True
