"""Devices, their readings, and the commands to them."""

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from devices.messages import MAX_TEXT, NAME
from realtime.broadcast import group_name
from realtime.feeds.models import latest_seqs
from realtime.history import History
from realtime.keyset import iterate

DEVICES = group_name("devices", "all")  # the group of the list
CHANGED = {"type": "changed"}  # event that lets open pages read again what they show


class Device(models.Model):
    """Device, created by its first message. `name` is its id in topics."""

    name = models.CharField(
        _("name"), max_length=64, unique=True, validators=[RegexValidator(NAME)]
    )
    is_online = models.BooleanField(_("online"), default=False, editable=False)
    # When a message was stored.
    seen_at = models.DateTimeField(_("last seen at"), null=True, editable=False)
    value = models.FloatField(_("value"), null=True, editable=False)  # of the latest reading
    number = models.PositiveBigIntegerField(default=0, editable=False)  # the highest of a reading

    class Meta:
        verbose_name = _("device")
        verbose_name_plural = _("devices")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("device", args=[self.name])

    @property
    def feed(self) -> str:
        """Name of the feed that numbers the readings, and of the group of the device's page."""
        return feed_of(self.name)


class Reading(models.Model):
    """Value that a device measured. `number` is the device's own, `seq` that of its feed."""

    device = models.ForeignKey(Device, models.CASCADE, related_name="readings", db_index=False)
    number = models.PositiveBigIntegerField()
    seq = models.PositiveBigIntegerField()
    value = models.FloatField()
    at = models.DateTimeField()
    stored_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("reading")
        verbose_name_plural = _("readings")
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
        return {"type": "reading", "seq": self.seq, "value": self.value}


class State(models.TextChoices):
    """State of a command."""

    WAITING = "waiting", _("Waiting")
    DELIVERED = "delivered", _("Delivered")
    ANSWERED = "answered", _("Answered")


class Command(models.Model):
    """Command to a device. A device may get it twice, and knows it by its id."""

    device = models.ForeignKey(
        Device,
        models.CASCADE,
        related_name="commands",
        db_index=False,
        verbose_name=_("device"),
    )
    text = models.CharField(_("text"), max_length=MAX_TEXT)
    user_name = models.CharField(_("user name"), max_length=150)
    state = models.CharField(_("state"), max_length=9, choices=State, default=State.WAITING)
    answer = models.CharField(_("answer"), max_length=MAX_TEXT, default="")
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    sent_at = models.DateTimeField(_("sent at"), null=True)  # the latest attempt

    class Meta:
        verbose_name = _("command")
        verbose_name_plural = _("commands")
        indexes = (
            models.Index(fields=("device", "id"), name="command_device"),
            models.Index(
                fields=("id",), condition=models.Q(state="waiting"), name="command_waiting"
            ),
        )

    def __str__(self) -> str:
        return f"{self.text:.40}"


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


def find_device(name: str) -> Device | None:
    return Device.objects.filter(name=name).first()
