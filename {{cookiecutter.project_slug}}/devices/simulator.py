"""Simulated devices, each with a connection of its own, as real ones have."""

import heapq
import json
import math
import random
import selectors
import time
from typing import Any

from django.utils import timezone
from paho.mqtt.client import Client, MQTTMessage

from devices.models import text_of
from devices.mqtt import KEEPALIVE, broker, new_client, topic

RESEND_SECONDS = 10  # after which a reading that is not stored is sent again
MAX_SENT = 100  # readings of a device sent again at once
CONNECT_SECONDS = (1, 5)  # before another attempt to connect, at random


class SimulatedDevice:
    """Device that keeps each reading until it is stored, and carries out commands once.

    Its numbers start with the time, so that none is used twice after a restart.
    """

    def __init__(self, name: str, selector: selectors.BaseSelector) -> None:
        self.name, self.selector = name, selector
        self.number = time.time_ns() // 1_000_000
        self.readings = 0
        self.kept: dict[int, tuple[str, float]] = {}  # payloads, and when they were sent
        self.answers: dict[int, str] = {}  # by the ids of commands
        self.client = new_client(name)
        self.client.will_set(topic(name, "status"), "offline", qos=1, retain=True)
        self.client.on_connect = self.on_connect
        self.client.on_message = self.on_message
        self.client.on_socket_open = self.on_socket_open
        self.client.on_socket_close = self.on_socket_close

    def connect(self) -> bool:
        """Connect if the device is not. Return whether it was tried without success."""
        if self.client.socket():
            self.client.loop_misc()
            self.write()
            return False
        host, port, *_ = broker()
        try:
            self.client.connect(host, port, KEEPALIVE)
        except OSError:
            return True
        return False

    def read(self) -> None:
        """Receive what has arrived, and answer it."""
        self.client.loop_read()
        self.write()

    def write(self) -> None:
        """Send what callbacks have queued, and what a full socket refused."""
        if self.client.want_write():
            self.client.loop_write()

    def measure(self) -> None:
        """Keep a new reading, and send it."""
        self.number += 1
        self.readings += 1
        value = round(20 + 5 * math.sin(time.time() / 60 + len(self.name)) + random.random(), 2)
        content = {"number": self.number, "value": value, "at": text_of(timezone.now())}
        self.send(self.number, json.dumps(content))

    def send(self, number: int, payload: str) -> None:
        is_connected = self.client.is_connected()
        self.kept[number] = payload, time.monotonic() if is_connected else 0
        if is_connected:
            self.client.publish(topic(self.name, "readings"), payload, qos=1)

    def send_again(self) -> None:
        """Send the oldest readings that were not stored in time."""
        before = time.monotonic() - RESEND_SECONDS
        late = [number for number, (_, sent_at) in self.kept.items() if sent_at < before]
        for number in late[:MAX_SENT]:
            self.send(number, self.kept[number][0])

    def on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe([(topic(self.name, kind), 1) for kind in ("stored", "commands")])
        client.publish(topic(self.name, "status"), "online", qos=1, retain=True)
        self.kept = {number: (payload, 0) for number, (payload, _) in self.kept.items()}

    def on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        content = json.loads(message.payload)
        if message.topic.endswith("/stored"):
            for number in content["numbers"]:
                self.kept.pop(number, None)
            return
        key = content["id"]
        client.publish(topic(self.name, "answers"), json.dumps({"id": key}), qos=1)
        answer = self.answers.setdefault(key, f"Done: {content['command']}")
        client.publish(
            topic(self.name, "answers"), json.dumps({"id": key, "answer": answer}), qos=1
        )

    def on_socket_open(self, _: Client, __: Any, sock: Any) -> None:
        self.selector.register(sock, selectors.EVENT_READ, self)

    def on_socket_close(self, _: Client, __: Any, sock: Any) -> None:
        self.selector.unregister(sock)

    def close(self) -> None:
        """Go offline in good order."""
        if self.client.is_connected():
            self.client.publish(topic(self.name, "status"), "offline", qos=1, retain=True)
            self.client.disconnect()


class Simulator:
    """Devices in one thread. Each has `rate` readings a second."""

    def __init__(self, count: int, rate: float) -> None:
        self.selector = selectors.DefaultSelector()
        width = len(str(count))
        names = (f"device-{number:0{width}}" for number in range(1, count + 1))
        self.devices = [SimulatedDevice(name, self.selector) for name in names]
        self.pause = 1 / rate
        self.stopping = False

    def stop(self, *_: object) -> None:
        """Let `run()` return. A signal handler may call it."""
        self.stopping = True

    def run(self, seconds: float | None, patience: float) -> tuple[int, int]:
        """Run for some seconds, or until `stop()`, then until all readings are stored.

        Wait for the latter up to `patience` seconds. Return the numbers of all readings, and of
        those that are still kept.
        """
        now = time.monotonic()
        end = now + (math.inf if seconds is None else seconds)
        connects = [(now + random.random(), index) for index in range(len(self.devices))]
        readings = [(now + self.pause * random.random(), index) for _, index in connects]
        heapq.heapify(connects)
        heapq.heapify(readings)
        while (now := time.monotonic()) < end and not self.stopping:
            self.look_after(connects, now)
            while readings[0][0] < now:
                due, index = readings[0]
                self.devices[index].measure()
                heapq.heapreplace(readings, (due + self.pause, index))
            self.transfer()
        deadline = time.monotonic() + patience
        while self.kept() and (now := time.monotonic()) < deadline:
            self.look_after(connects, now)
            self.transfer()
        for device in self.devices:
            device.close()
        return sum(device.readings for device in self.devices), self.kept()

    def kept(self) -> int:
        """Return the number of readings that are not stored."""
        return sum(len(device.kept) for device in self.devices)

    def look_after(self, connects: list[tuple[float, int]], now: float) -> None:
        """Connect the devices whose turn it is, and send again what was not stored in time."""
        while connects[0][0] < now:
            _, index = connects[0]
            device = self.devices[index]
            failed = device.connect()
            device.send_again()
            pause = random.uniform(*CONNECT_SECONDS) if failed else 1
            heapq.heapreplace(connects, (now + pause, index))

    def transfer(self) -> None:
        """Send and receive what is ready."""
        for key, _ in self.selector.select(0.02):
            key.data.read()
