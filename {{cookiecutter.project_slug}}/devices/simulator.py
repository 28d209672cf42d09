"""Simulated devices, each with a connection of its own, as real ones have."""

import json
import math
import random
import selectors
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.utils import timezone
from paho.mqtt.client import Client, MQTTMessage

from devices.messages import topic_of
from realtime.mqtt.client import connect, new_client

RESEND_SECONDS = 10  # after which a reading that is not stored is sent again
MAX_SENT = 100  # readings of a device sent again at once


class SimulatedDevice:
    """Device that keeps each reading until it is stored, and carries out commands once.

    Its numbers start with the time, so that none is used twice after a restart.
    """

    def __init__(self, name: str, selector: selectors.BaseSelector) -> None:
        self.name, self.selector = name, selector
        self.number = time.time_ns() // 1_000_000
        self.kept: dict[int, tuple[float, str]] = {}  # when they were sent, and their payloads
        self.answers: dict[int, str] = {}  # by the ids of commands
        self.client = new_client(f"{settings.DEVICES_PREFIX}-{name}")
        self.client.will_set(topic_of(name, "status"), "offline", qos=1, retain=True)
        self.client.on_connect = self.on_connect
        self.client.on_message = self.on_message
        self.client.on_socket_open = self.on_socket_open
        self.client.on_socket_close = self.on_socket_close

    def turn(self) -> None:
        """Connect if the device is not. Send what was not stored in time."""
        if self.client.socket():
            self.client.loop_misc()
            self.send_late()
        else:
            with suppress(OSError):
                connect(self.client)

    def measure(self) -> None:
        """Keep a new reading, and send it."""
        self.number += 1
        value = round(20 + 5 * math.sin(time.time() / 60 + len(self.name)) + random.random(), 2)
        content = {"number": self.number, "value": value, "at": timezone.now().isoformat()}
        self.send(self.number, json.dumps(content))

    def send(self, number: int, payload: str) -> None:
        is_connected = self.client.is_connected()
        self.kept[number] = time.monotonic() if is_connected else 0, payload
        if is_connected:
            self.client.publish(topic_of(self.name, "readings"), payload, qos=1)

    def send_late(self) -> None:
        before = time.monotonic() - RESEND_SECONDS
        late = [(number, payload) for number, (at, payload) in self.kept.items() if at < before]
        for number, payload in late[:MAX_SENT]:
            self.send(number, payload)

    def receive(self) -> None:
        """Read what has arrived, and send what callbacks have answered."""
        self.client.loop_read()
        if self.client.want_write():
            self.client.loop_write()

    def on_socket_open(self, _: Client, __: Any, sock: Any) -> None:
        self.selector.register(sock, selectors.EVENT_READ, self)

    def on_socket_close(self, _: Client, __: Any, sock: Any) -> None:
        self.selector.unregister(sock)

    def on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe([(topic_of(self.name, kind), 1) for kind in ("stored", "commands")])
        client.publish(topic_of(self.name, "status"), "online", qos=1, retain=True)
        self.kept = {number: (0, payload) for number, (_, payload) in self.kept.items()}

    def on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        content = json.loads(message.payload)
        if message.topic.endswith("/stored"):
            for number in content["numbers"]:
                self.kept.pop(number, None)
            return
        key = content["id"]
        self.answers.setdefault(key, f"Done: {content['command']}")
        for answer in ({"id": key}, {"id": key, "answer": self.answers[key]}):
            client.publish(topic_of(self.name, "answers"), json.dumps(answer), qos=1)

    def close(self) -> None:
        """Go offline in good order."""
        self.client.publish(topic_of(self.name, "status"), "offline", qos=1, retain=True)
        self.client.disconnect()


class Simulator:
    """Devices in one thread. Each has a reading a second."""

    def __init__(self, count: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.devices = [
            SimulatedDevice(f"device-{number:0{len(str(count))}}", self.selector)
            for number in range(1, count + 1)
        ]
        self.stopping = False

    def stop(self, *_: object) -> None:
        """Let `run()` return. A signal handler may call it."""
        self.stopping = True

    def run(self, seconds: float, patience: float) -> tuple[int, int]:
        """Run for some seconds, or until `stop()`. Return the numbers of readings: all, and lost.

        A reading is lost if it is not stored `patience` seconds after the end.
        """
        total = 0
        now = due = time.monotonic()
        end = now + seconds
        while now < end or (self.kept() and now < end + patience):
            measuring = now < end
            for device in self.devices:  # they take turns, each once a second
                device.turn()
                if measuring:
                    device.measure()
                    total += 1
                due += 1 / len(self.devices)
                now = self.transfer(due)
            if self.stopping:
                end = min(end, now)
        for device in self.devices:
            device.close()
        return total, self.kept()

    def kept(self) -> int:
        """Return the number of readings that are not stored."""
        return sum(len(device.kept) for device in self.devices)

    def transfer(self, until: float) -> float:
        """Send and receive what is ready until a time. Return the time."""
        while True:
            now = time.monotonic()
            for key, _ in self.selector.select(max(0, until - now)):
                key.data.receive()
            if now >= until:
                return now
