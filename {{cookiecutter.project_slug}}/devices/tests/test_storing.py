"""Storing of messages, with the bridge but without a broker."""

import json
import logging
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, DataError, OperationalError
from django.utils import timezone
from paho.mqtt.client import MQTTMessage
from pytest_django import Settings

from devices import bridge, models, storing
from devices.bridge import Bridge
from devices.figures import devices
from devices.messages import AnswerMessage, ReadingMessage, StatusMessage, parse
from devices.models import Command, Device, Reading, State, claim_commands, send_command
from devices.mqtt import topic
from devices.storing import store_messages

pytestmark = pytest.mark.django_db


def reading(name: str, number: int, value: float = 1.5) -> ReadingMessage:
    return ReadingMessage(name, number, value, None)


def stored(name: str = "one") -> list[tuple[int, int, float]]:
    """Return the numbers and values of a device's readings."""
    rows = Reading.objects.filter(device__name=name).order_by("seq")
    return list(rows.values_list("seq", "number", "value"))


def message_of(device: str, kind: str, content: Any, number: int = 1) -> MQTTMessage:
    """Return a message as the broker delivers it."""
    message = MQTTMessage(number, topic(device, kind).encode())
    message.payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    message.qos = 1
    return message


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Bridge:
    """Bridge whose client sends nothing. What it would send is in `sent` of the client."""
    served = Bridge("test")
    log: list[Any] = []
    monkeypatch.setattr(served.client, "ack", lambda number, qos: log.append(number))
    monkeypatch.setattr(served.client, "is_connected", lambda: True)

    def publish(topic: str, payload: str, qos: int = 0) -> Any:
        log.append((topic, json.loads(payload)))
        return type("Info", (), {"mid": len(log)})

    monkeypatch.setattr(served.client, "publish", publish)
    monkeypatch.setattr(served.client, "log", log, raising=False)
    return served


def log_of(served: Bridge) -> list[Any]:
    return served.client.log  # type: ignore[no-any-return, attr-defined]


def test_readings_are_stored_once() -> None:
    """Known numbers are skipped, also within a batch. The others are numbered without a gap."""
    store_messages([reading("one", 7), reading("two", 7), reading("one", 9), reading("one", 7, 9)])
    store_messages([reading("one", 9), reading("one", 8, 2)])
    assert stored() == [(1, 7, 1.5), (2, 9, 1.5), (3, 8, 2)]
    assert stored("two") == [(1, 7, 1.5)]
    assert list(Device.objects.values_list("name", "value")) == [("one", 2), ("two", 1.5)]


def test_message_that_cannot_be_stored_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of its batch are stored."""
    store_readings = storing.store_readings

    def refuse(devices: Any, new: list[ReadingMessage]) -> None:
        if any(one.value == 13 for one in new):
            raise DataError("poison")
        store_readings(devices, new)

    monkeypatch.setattr(storing, "store_readings", refuse)
    batch = [reading("one", number, number) for number in range(11, 16)]
    assert store_messages(batch) == batch[:2] + batch[3:]
    assert [number for _, number, _ in stored()] == [11, 12, 14, 15]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"number": 0, "value": 1}',
        b'{"number": true, "value": 1}',
        b'{"number": 9223372036854775808, "value": 1}',
        b'{"number": 1, "value": NaN}',
        b'{"number": 1, "value": 1e999}',
        b'{"number": 1, "value": "1"}',
        b'{"number": 1, "value": true}',
        b'{"number": 1, "value": 1' + b"0" * 400 + b"}",
        b'{"number": 1, "value": 1, "at": 5}',
        b'{"number": 1, "value": 1, "at": "2026-01-01T00:00:00"}',
        b'{"number": 1, "value": 1, "at": "0001-01-01T00:00:00+23:00"}',
    ],
)
def test_invalid_readings_are_refused(payload: bytes) -> None:
    """The reason is one short line."""
    with pytest.raises(ValueError, match=r"^(`|the payload).{,60}$"):
        parse(topic("one", "readings"), payload)


@pytest.mark.parametrize(
    ("name", "kind", "payload"),
    [
        ("no name", "readings", b'{"number": 1, "value": 1}'),
        ("one", "status", b"perhaps"),
        ("one", "answers", b'{"id": "1"}'),
        ("one", "answers", b'{"id": 1, "answer": 5}'),
        ("one", "answers", b'{"id": 1, "answer": "\\u0000"}'),
    ],
)
def test_other_invalid_messages_are_refused(name: str, kind: str, payload: bytes) -> None:
    """Names of devices, states and answers are checked, too."""
    with pytest.raises(ValueError, match=r"^(the|`)"):
        parse(topic(name, kind), payload)


def test_valid_messages_are_parsed() -> None:
    """Each topic has its kind of message."""
    at = '{"number": 7, "value": 21, "at": "2026-01-01T01:00:00+01:00"}'
    message = parse(topic("one", "readings"), at.encode())
    assert isinstance(message, ReadingMessage)
    assert (message[:3], str(message.at)) == (("one", 7, 21.0), "2026-01-01 00:00:00+00:00")
    assert parse(topic("one", "status"), b"online") == StatusMessage("one", True)
    assert parse(topic("one", "answers"), b'{"id": 3}') == AnswerMessage("one", 3, None)
    answer = parse(topic("one", "answers"), b'{"id": 3, "answer": "ok"}')
    assert answer == AnswerMessage("one", 3, "ok")


def test_bridge_acknowledges_what_is_stored(
    served: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    """Invalid messages are acknowledged, too, and counted in a line. Devices get the rest."""
    bad = [message_of("one", "readings", {"number": 0}, number) for number in (1, 2)]
    good = message_of("one", "readings", {"number": 5, "value": 2}, 3)
    old = message_of("one", "readings", {"number": 6, "value": 2}, 4)
    served.handle([*((0, one) for one in (*bad, good)), (-1, old)])
    served.confirm()
    told = (topic("one", "stored"), {"numbers": [5, 6]})
    assert log_of(served) == [1, 2, 3, told]
    assert stored() == [(1, 5, 2), (2, 6, 2)]
    lines = [one.getMessage() for one in caplog.records if one.name == "devices.bridge"]
    assert lines == ["Dropped 1 invalid messages. The last one: `number` is not a number above 0"]
    assert served.bad.count == 2


def test_bridge_waits_for_the_database(
    served: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch is stored once the database is back, and acknowledged after that."""
    errors: list[DatabaseError] = [OperationalError("down"), OperationalError("down")]

    def fail(messages: Any) -> Any:
        if errors:
            assert log_of(served) == []
            raise errors.pop()
        return store_messages(messages)

    monkeypatch.setattr(bridge, "store_messages", fail)
    monkeypatch.setattr(bridge, "RETRY_SECONDS", 0)
    served.handle([(0, message_of("one", "readings", {"number": 5, "value": 2}))])
    assert (log_of(served), stored()) == ([1], [(1, 5, 2)])
    assert [one.message for one in caplog.records if one.levelno == logging.WARNING] == [
        "The database stores nothing, retrying: down"
    ]


def test_stopped_bridge_leaves_a_batch_to_the_broker(
    served: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the database is down meanwhile, nothing is acknowledged."""

    def fail(messages: Any) -> Any:
        served.stop()
        raise OperationalError("down")

    monkeypatch.setattr(bridge, "store_messages", fail)
    monkeypatch.setattr(bridge, "RETRY_SECONDS", 0)
    served.handle([(0, message_of("one", "readings", {"number": 5, "value": 2}))])
    assert log_of(served) == []


def test_command_is_sent_delivered_and_answered(served: Bridge) -> None:
    """A command waits until the device is online, and its state never goes back."""
    device = Device.objects.create(name="one")
    command = send_command(device, "blink", "ann")
    served.send_commands()
    assert log_of(served) == []
    served.handle([(0, message_of("one", "status", b"online"))])
    log_of(served).clear()
    served.send_commands()
    content = {"id": command.pk, "command": "blink"}
    assert log_of(served) == [(topic("one", "commands"), content)]
    states = []
    served.sent.put(1)
    served.send_commands()
    states.append(Command.objects.get().state)
    for answer in ({}, {"answer": "done"}, {}, {"answer": "again"}):
        served.handle([(0, message_of("one", "answers", {"id": command.pk, **answer}))])
        states.append(Command.objects.get().state)
    assert states == ["sent", "delivered", "answered", "answered", "answered"]
    assert Command.objects.get().answer == "done"


def test_command_is_sent_again_until_it_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bridge has it for ten seconds. Other devices cannot answer it."""
    device = Device.objects.create(name="one", is_online=True)
    command = send_command(device, "blink", "ann")
    assert claim_commands(5) == [command]
    assert claim_commands(5) == []
    monkeypatch.setattr(models, "RETRY", timedelta(0))
    assert claim_commands(5) == [command]
    store_messages([AnswerMessage("two", command.pk, "x")])
    assert Command.objects.get().state == State.WAITING
    store_messages([AnswerMessage("one", command.pk, None)])
    assert claim_commands(5) == []


def test_old_readings_are_deleted(settings: Settings) -> None:
    """`cleanup` deletes those older than DEVICES_DAYS, and numbers continue."""
    store_messages([reading("one", 1)])
    settings.DEVICES_DAYS = 1
    Reading.objects.update(stored_at=timezone.now() - timedelta(days=2))
    store_messages([reading("one", 2)])
    call_command("cleanup", verbosity=0)
    assert stored() == [(2, 2, 1.5)]


def test_figures_are_those_of_the_last_seconds() -> None:
    """The mean is missing without readings."""
    assert devices() == {"Devices online": 0, "Readings per second": 0}
    store_messages([StatusMessage("one", True), reading("one", 1, 1), reading("one", 2, 4)])
    expected = {"Devices online": 1, "Readings per second": 0.4, "Mean value": 2.5}
    assert devices() == expected


def test_batch_ends_soon(served: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is full, or is not waited for."""
    monkeypatch.setattr(bridge, "BATCH", 2)
    for _ in range(3):
        served.arrived.put((0, message_of("one", "status", b"online")))
    start = time.monotonic()
    assert [len(served.take()) for _ in range(3)] == [2, 1, 0]
    assert time.monotonic() < start + 5
