"""Bridges on a real Mosquitto."""

import getpass
import json
import logging
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from django.db import IntegrityError, OperationalError

from engine.test_startup import free_port
from realtime.environment import MqttBroker
from realtime.mqtt import bridge as bridge_module
from realtime.mqtt.bridge import MAX_BYTES, TURN_SECONDS, Bridge
from realtime.mqtt.client import connect, new_client

pytestmark = pytest.mark.django_db(transaction=True)

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")


def wait_until(holds):
    """Return once something holds. Fail after some seconds."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Mosquitto:
    """Broker that can be killed and started again."""

    def __init__(self, folder, *lines):
        self.port = int(free_port())
        self.command = [MOSQUITTO, "-c", folder / "mosquitto.conf"]
        lines = [f"listener {self.port} 127.0.0.1", f"user {getpass.getuser()}", *lines]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        wait_until(self.listens)

    def listens(self):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True

    def stop(self):
        self.process.kill()
        self.process.wait()


class NumberBridge(Bridge):
    """Bridge of numbers. `errors` are raised by the next calls of `store()`."""

    shared_topics = ("site/+/numbers",)
    topics = ("site/+/state",)

    def __init__(self, *errors, client_id="site-bridge"):
        super().__init__(client_id)
        self.errors = list(errors)
        self.calls = []
        self.connects = 0
        self.found = []

    def parse(self, topic, payload):
        return int(payload)

    def connect(self):
        self.connects += 1
        super().connect()

    def store(self, contents):
        self.calls.append(len(contents))
        if self.errors:
            raise self.errors.pop(0)
        if 13 in contents:
            raise IntegrityError("thirteen")
        self.found += contents


@pytest.fixture
def broker(tmp_path, settings):
    """A broker without passwords."""
    broker = Mosquitto(tmp_path, "allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/")
    settings.MQTT = MqttBroker("127.0.0.1", broker.port, "", "", False)
    yield broker
    broker.stop()


@contextmanager
def running(bridge):
    """Run a bridge in a thread, until the end of the block."""
    thread = threading.Thread(target=bridge.run)
    thread.start()
    try:
        yield bridge
    finally:
        bridge.stop()
        thread.join(20)
    assert not thread.is_alive()


@contextmanager
def device():
    """Connect a client that sends messages, with QoS 1 if no other is named."""
    client = new_client("site-device")
    connect(client)
    client.loop_start()
    try:
        yield lambda *message, qos=1, **options: client.publish(*message, qos, **options).wait_for_publish(10)
    finally:
        client.disconnect()
        client.loop_stop()


def test_invalid_messages_are_dropped_alone(broker, caplog):
    """One that is too long, not parsed or not stored does not stop the others of its batch."""
    caplog.set_level(logging.WARNING, "realtime.mqtt")
    with running(NumberBridge()) as bridge:
        wait_until(bridge.client.is_connected)
        with device() as send:
            for payload in ("1", "x", "13", "2", "y", "4" + " " * MAX_BYTES, "3"):
                send("site/one/numbers", payload)
        wait_until(lambda: sorted(bridge.found) == [1, 2, 3] and not bridge.dropped)
    lines = [record.getMessage() for record in caplog.records]
    assert "This message cannot be stored: 13" in lines
    reason = "The last: site/one/numbers: invalid literal for int() with base 10: b'y'"
    assert lines[-1] in {f"Dropped {count} invalid messages. {reason}" for count in (1, 2)}


def test_messages_wait_for_the_database(broker, caplog):
    """The bridge stores messages once the database is back, and logs its outage once."""
    caplog.set_level(logging.INFO, "realtime.mqtt")
    with running(NumberBridge(OperationalError("down"), OperationalError("down"))) as bridge:
        wait_until(bridge.client.is_connected)
        start = time.monotonic()
        with device() as send:
            send("site/one/numbers", "1")
        wait_until(lambda: bridge.found == [1])
        assert time.monotonic() - start > 2 * TURN_SECONDS
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"Connecting to 127.0.0.1:{broker.port}",
        "Connected to the broker",
        "The database stores nothing, retrying: down",
        "The database stores again",
        "Stored 1 messages",
    ]


def test_backlog_is_stored_in_batches(broker, monkeypatch):
    """Messages that wait for the database are not stored all at once."""
    monkeypatch.setattr(bridge_module, "BATCH", 10)
    monkeypatch.setattr(bridge_module, "RECEIVE_MAXIMUM", 50)
    with running(NumberBridge(OperationalError("down"))) as bridge:
        wait_until(bridge.client.is_connected)
        with device() as send:
            for number in range(40):
                send("site/one/numbers", number + 100)
        wait_until(lambda: len(bridge.found) == 40)
    assert sorted(bridge.found) == [*range(100, 140)]
    assert max(bridge.calls[1:]) == 10


def test_messages_without_a_promise_are_bounded(broker, monkeypatch):
    """While the database is down, the bridge keeps some messages of QoS 0 and drops the others."""
    monkeypatch.setattr(bridge_module, "RECEIVE_MAXIMUM", 50)
    with running(NumberBridge(OperationalError("down"))) as bridge:
        wait_until(bridge.client.is_connected)
        with device() as send:
            for number in range(200):
                send("site/one/numbers", number + 100, qos=0)
            send("site/one/numbers", 1)
        wait_until(lambda: 1 in bridge.found)
    assert len(bridge.found) == 51


def test_what_is_not_stored_comes_again(broker):
    """A bridge that stops while the database is down acknowledges nothing, and the broker keeps it."""
    with running(NumberBridge(*[OperationalError("down")] * 100)) as bridge:
        wait_until(bridge.client.is_connected)
        with device() as send:
            send("site/one/numbers", "1")
        wait_until(lambda: bridge.calls)
    with running(NumberBridge()) as bridge:
        wait_until(lambda: bridge.found == [1])
    with running(NumberBridge()) as bridge, device() as send:
        send("site/one/numbers", "2")
        wait_until(lambda: bridge.found == [2])


def test_killed_broker_is_waited_for(broker, caplog):
    """The bridge connects again. What had arrived is stored, and is not acknowledged to another broker."""
    caplog.set_level(logging.INFO, "realtime.mqtt")
    with running(NumberBridge(OperationalError("down"))) as bridge:
        wait_until(bridge.client.is_connected)
        with device() as send:
            send("site/one/numbers", "1")
        wait_until(lambda: bridge.calls)
        broker.stop()
        wait_until(lambda: 1 in bridge.found)
        time.sleep(2)
        assert bridge.connects < 8
        broker.start()
        wait_until(bridge.client.is_connected)
        with device() as send:
            send("site/one/numbers", "2")
        wait_until(lambda: 2 in bridge.found)
    lines = [record.getMessage() for record in caplog.records]
    # Once, or also after the line about the database.
    assert sum("is not reached, retrying" in line for line in lines) in {1, 2}
    assert lines.count("Connected to the broker") == 2


def test_acknowledgements_are_those_of_a_connection(broker):
    """Messages of an earlier connection come again. Once they are stored, the broker forgets them."""
    with running(NumberBridge(*[OperationalError("down")] * 4)) as bridge:
        wait_until(bridge.client.is_connected)
        with device() as send:
            send("site/one/numbers", "1")
        wait_until(lambda: bridge.calls)
        broker.process.terminate()  # it saves its messages
        broker.process.wait()
        broker.start()
        wait_until(lambda: bridge.found == [1, 1])
        with device() as send:
            send("site/one/numbers", "2")
        wait_until(lambda: bridge.found == [1, 1, 2])
    with running(NumberBridge()) as bridge, device() as send:
        send("site/one/numbers", "3")
        wait_until(lambda: 3 in bridge.found)
    assert bridge.found == [3]


def test_bridges_share_topics(broker):
    """Each message of a shared topic reaches one of them, and a retained one of the others reaches both."""
    first, second = NumberBridge(client_id="site-first"), NumberBridge(client_id="site-second")
    with device() as send, running(first), running(second):
        wait_until(lambda: first.client.is_connected() and second.client.is_connected())
        send("site/one/state", "1000", retain=True)
        wait_until(lambda: 1000 in first.found and 1000 in second.found)
        for number in range(100, 200):
            send("site/one/numbers", number)
        wait_until(lambda: len(first.found) + len(second.found) == 102)
    assert sorted([*first.found, *second.found]) == [*range(100, 200), 1000, 1000]
    assert len(first.found) > 10 and len(second.found) > 10


def test_bridge_publishes(broker):
    """Devices receive JSON, also from the turn of each second."""
    heard = []
    client = new_client("site-device")
    client.on_message = lambda _, __, message: heard.append((message.topic, json.loads(message.payload)))
    connect(client)
    client.loop_start()
    client.subscribe("site/one/orders")
    bridge = NumberBridge()
    bridge.turn = lambda: bridge.publish("site/one/orders", {"go": True})
    with running(bridge):
        wait_until(lambda: len(heard) > 1)
    client.disconnect()
    client.loop_stop()
    assert heard[0] == ("site/one/orders", {"go": True})


def test_id_in_use_is_named(broker, caplog):
    """Two bridges of one id take the connection from each other. The log has the likely reason."""
    with running(NumberBridge()) as first:
        wait_until(first.client.is_connected)
        with running(NumberBridge()):
            wait_until(lambda: "another client has the same id" in caplog.text)


def test_refused_bridge_names_the_reason(tmp_path, settings, caplog):
    """A wrong password is logged once, and tried again each second."""
    caplog.set_level(logging.INFO, "realtime.mqtt")
    (tmp_path / "passwords").touch(0o600)
    broker = Mosquitto(tmp_path, "allow_anonymous false", f"password_file {tmp_path}/passwords")
    settings.MQTT = MqttBroker("127.0.0.1", broker.port, "site", "wrong", False)
    try:
        with running(NumberBridge()):
            time.sleep(4)
    finally:
        broker.stop()
    lines = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
    assert lines == ["The broker refuses the connection: Not authorized"]


def test_bridge_needs_a_broker(settings):
    """Without MQTT_URL, one line names it."""
    settings.MQTT = None
    with pytest.raises(SystemExit, match=r"^MQTT_URL: missing"):
        NumberBridge()
