"""Simulated devices, not connected."""

import json
import selectors
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from paho.mqtt.client import MQTTMessage

from devices.messages import topic_of
from devices.simulator import SimulatedDevice, Simulator


def receive(device: SimulatedDevice, kind: str, content: dict[str, Any]) -> None:
    """Let a device receive a message from the bridge."""
    message = MQTTMessage(1, topic_of(device.name, kind).encode())
    message.payload = json.dumps(content).encode()
    device.on_message(device.client, None, message)


def test_reading_is_kept_until_it_is_stored() -> None:
    """A device forgets the numbers that the bridge confirms."""
    device = SimulatedDevice("one", selectors.DefaultSelector())
    device.measure()
    device.measure()
    first, second = device.kept
    receive(device, "stored", {"numbers": [first, 5]})
    assert list(device.kept) == [second]


def test_command_is_carried_out_once() -> None:
    """One that arrives twice has the same answer."""
    device = SimulatedDevice("one", selectors.DefaultSelector())
    receive(device, "commands", {"id": 3, "command": "blink"})
    receive(device, "commands", {"id": 3, "command": "again"})
    assert device.answers == {3: "Done: blink"}


def test_names_have_one_length() -> None:
    """Lists sort them by their numbers."""
    names = [device.name for device in Simulator(10).devices]
    assert names == sorted(names) and names[0] == "device-01"


def test_no_device_is_refused() -> None:
    """A number below 1 is an error in one line."""
    with pytest.raises(CommandError, match=r"^--count: Use at least 1\.$"):
        call_command("simulate_devices", count=0)
