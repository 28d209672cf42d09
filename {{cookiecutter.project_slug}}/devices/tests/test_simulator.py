"""Simulated devices and the bridge, with a broker in memory in place of a real one."""

import re
import selectors
import signal
import threading
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from paho.mqtt.client import Client, MQTTMessage, topic_matches_sub
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from pytest_django import Settings

from devices.management.commands import simulate_devices
from devices.models import Command, Device, Reading, send_command
from devices.mqtt import topic
from devices.simulator import SimulatedDevice

pytestmark = pytest.mark.django_db(transaction=True)

DONE = ReasonCode(PacketTypes.CONNACK)


class MemoryBroker:
    """Broker that hands each message to the clients that subscribed, at once and once."""

    def __init__(self) -> None:
        self.subscriptions: list[tuple[Client, str]] = []
        self.acknowledged: list[int] = []
        self.packets = 0

    def subscribe(self, client: Client, topics: list[tuple[str, int]]) -> None:
        self.subscriptions += [(client, name.removeprefix("$share/bridges/")) for name, _ in topics]

    def publish(self, client: Client, topic: str, payload: str, **options: Any) -> Any:
        self.packets += 1
        for other, subscription in list(self.subscriptions):
            if topic_matches_sub(subscription, topic):
                message = MQTTMessage(self.packets, topic.encode())
                message.payload, message.qos = payload.encode(), options.get("qos", 0)
                other.on_message(other, None, message)  # type: ignore[misc]
        if client.on_publish:
            client.on_publish(client, None, self.packets, DONE, None)  # type: ignore[call-arg, arg-type]
        return type("Info", (), {"mid": self.packets})

    def connect(self, client: Client, *_: Any, **__: Any) -> None:
        client.on_connect(client, None, None, DONE, None)  # type: ignore[misc, arg-type, call-arg]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Broker of all clients of this process."""
    broker = MemoryBroker()

    def method(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda client, *values, **options: function(client, *values, **options)

    for name in ("subscribe", "publish", "connect"):
        monkeypatch.setattr(Client, name, method(getattr(broker, name)))
    monkeypatch.setattr(Client, "connect_async", method(broker.connect))
    monkeypatch.setattr(Client, "is_connected", lambda client: True)
    for name in ("loop_start", "loop_stop", "disconnect"):
        monkeypatch.setattr(Client, name, lambda client: None)
    monkeypatch.setattr(Client, "ack", lambda client, mid, qos: broker.acknowledged.append(mid))
    return broker


def bridge_for(seconds: float) -> None:
    """Run the command of the bridge for some seconds."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    threading.Timer(seconds, signal.raise_signal, [signal.SIGTERM]).start()
    call_command("bridge_devices", name="test", stdout=StringIO())
    for number, handler in before.items():
        signal.signal(number, handler)


def test_readings_and_commands_pass_the_bridge(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device keeps a reading until it is stored, and answers a command."""
    device = SimulatedDevice("one", selectors.DefaultSelector())
    send_command(Device.objects.create(name="one"), "blink", "ann")

    def start(client: Client) -> None:
        assert device.connect() is False
        device.measure()
        device.measure()
        assert len(device.kept) == 2

    monkeypatch.setattr(Client, "loop_start", start)
    bridge_for(1.5)
    assert device.kept == {}
    assert [reading.seq for reading in Reading.objects.order_by("number")] == [1, 2]
    assert len(broker.acknowledged) >= 5
    command = Command.objects.get()
    assert (command.state, command.answer) == ("answered", "Done: blink")
    device.close()


def test_late_readings_are_sent_again(broker: MemoryBroker) -> None:
    """A reading that is not stored within ten seconds is sent once more."""
    arrived: list[int] = []
    listener = SimulatedDevice("two", selectors.DefaultSelector()).client
    listener.on_message = lambda *_: arrived.append(1)
    broker.subscribe(listener, [(topic("one", "readings"), 1)])
    device = SimulatedDevice("one", selectors.DefaultSelector())
    device.measure()
    device.send_again()
    assert len(arrived) == 1
    device.kept = {number: (payload, 0) for number, (payload, _) in device.kept.items()}
    device.send_again()
    assert len(arrived) == 2


def test_simulator_reports_what_is_not_stored(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a bridge, the command exits with 1."""
    output = StringIO()
    monkeypatch.setattr(simulate_devices, "PATIENCE", 0.1)
    with pytest.raises(SystemExit):
        call_command("simulate_devices", count=3, rate=20, seconds=1.2, stdout=output)
    total, kept = re.findall(r"Readings: (\d+). Not stored: (\d+).", output.getvalue())[0]
    assert total == kept


def test_bridge_needs_a_broker(settings: Settings) -> None:
    """Without MQTT_URL, one line names it."""
    settings.MQTT = None
    with pytest.raises(SystemExit, match=r"^MQTT_URL: missing"):
        call_command("bridge_devices", name="test")
