"""Storing of messages, and commands, without a broker."""

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from devices import commands
from devices.bridge import DeviceBridge
from devices.commands import send_command, take_commands
from devices.figures import devices
from devices.messages import AnswerMessage, ReadingMessage, StatusMessage, topic_of
from devices.models import Command, Device, Reading, State
from devices.storing import store_messages

pytestmark = pytest.mark.django_db


class SilentBridge(DeviceBridge):
    """Bridge that keeps what it would send."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sent: list[tuple[str, Any]] = []

    def publish(self, topic: str, content: Any, *, qos: int = 0) -> None:
        self.sent.append((topic, content))


def reading(name: str, number: int, value: float = 1.5) -> ReadingMessage:
    return ReadingMessage(name, number, value, None)


def stored(name: str = "one") -> list[tuple[int, int, float]]:
    """Return the numbers and values of a device's readings."""
    rows = Reading.objects.filter(device__name=name).order_by("seq")
    return list(rows.values_list("seq", "number", "value"))


def test_readings_are_stored_once() -> None:
    """Known numbers are skipped, also within a batch. The others are numbered without a gap."""
    store_messages([reading("one", 7), reading("two", 7), reading("one", 9), reading("one", 7, 9)])
    store_messages([reading("one", 9), reading("one", 8, 2)])
    store_messages([reading("one", 9)])
    assert stored() == [(1, 7, 1.5), (2, 9, 1.5), (3, 8, 2)]
    assert stored("two") == [(1, 7, 1.5)]
    assert list(Device.objects.values_list("name", "value")) == [("one", 2), ("two", 1.5)]


def test_readings_have_the_time_of_the_device() -> None:
    """Without one, it is the time of storing, which the device has, too."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    store_messages([StatusMessage("one", True)])
    store_messages([ReadingMessage("one", 1, 1, at), reading("one", 2)])
    times = Reading.objects.order_by("seq").values_list("at", flat=True)
    assert list(times) == [at, Device.objects.get().seen_at]


def test_readings_that_are_not_stored_are_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device keeps them while the database is down."""
    bridge = SilentBridge("test")
    monkeypatch.setattr("devices.bridge.store_messages", Mock(side_effect=OperationalError))
    with pytest.raises(OperationalError):
        bridge.store([reading("one", 1)])
    bridge.turn()
    assert bridge.sent == []


def test_known_readings_are_confirmed_again() -> None:
    """A device may have missed that they are stored. It learns so once."""
    bridge = SilentBridge("test")
    bridge.store([reading("one", 1), reading("one", 2)])
    bridge.turn()
    bridge.store([reading("one", 2), StatusMessage("one", True)])
    bridge.turn()
    bridge.turn()
    topic = topic_of("one", "stored")
    assert bridge.sent == [(topic, {"numbers": [1, 2]}), (topic, {"numbers": [2]})]


def test_confirmations_are_small() -> None:
    """A device that sends a thousand readings at once gets ten messages."""
    bridge = SilentBridge("test")
    bridge.store([reading("one", number) for number in range(1, 1001)])
    bridge.turn()
    assert [len(content["numbers"]) for _, content in bridge.sent] == [100] * 10


def test_deleted_device_is_online_again() -> None:
    """A device that an admin deletes sends no status again. Its next reading shows its state."""
    store_messages([reading("one", 1), StatusMessage("two", False)])
    states = dict(Device.objects.values_list("name", "is_online"))
    assert states == {"one": True, "two": False}


def test_command_is_sent_delivered_and_answered() -> None:
    """A command waits until the device is online, and its state never goes back."""
    bridge = SilentBridge("test")
    command = send_command(Device.objects.create(name="one"), "blink", "ann")
    bridge.turn()
    assert bridge.sent == []
    bridge.store([StatusMessage("one", True)])
    bridge.turn()
    assert bridge.sent == [(topic_of("one", "commands"), {"id": command.pk, "command": "blink"})]
    states = []
    for answer in ("", "done", "", "again"):
        bridge.store([AnswerMessage("one", command.pk, answer)])
        states.append(Command.objects.get().state)
    assert states == ["delivered", "answered", "answered", "answered"]
    assert Command.objects.get().answer == "done"


def test_command_is_sent_again_until_it_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bridge has it for ten seconds. Other devices cannot answer it."""
    device = Device.objects.create(name="one", is_online=True)
    command = send_command(device, "blink", "ann")
    assert take_commands() == [command]
    assert take_commands() == []
    monkeypatch.setattr(commands, "RETRY", timedelta(0))
    assert take_commands() == [command]
    store_messages([AnswerMessage("two", command.pk, "x")])
    assert Command.objects.get().state == State.WAITING
    store_messages([AnswerMessage("one", command.pk, "")])
    assert take_commands() == []


def test_bridge_needs_a_broker(settings: Settings) -> None:
    """Without MQTT_URL, one line names it."""
    settings.MQTT = None
    with pytest.raises(SystemExit, match=r"^MQTT_URL: missing"):
        call_command("bridge_devices", name="test")


def test_old_readings_are_deleted(settings: Settings) -> None:
    """`cleanup` deletes those older than DEVICES_DAYS, and numbers continue."""
    store_messages([reading("one", 1)])
    settings.DEVICES_DAYS = 1
    Reading.objects.update(stored_at=timezone.now() - timedelta(days=2))
    store_messages([reading("one", 2)])
    call_command("cleanup", verbosity=0)
    assert stored() == [(2, 2, 1.5)]


def test_figures_are_those_of_the_last_seconds() -> None:
    """There is no mean without readings."""
    assert devices() == {"Devices online": 0, "Readings per second": 0, "Mean value": None}
    store_messages([StatusMessage("one", True), reading("one", 1, 1), reading("one", 2, 4)])
    expected = {"Devices online": 1, "Readings per second": 0.4, "Mean value": 2.5}
    assert devices() == expected
