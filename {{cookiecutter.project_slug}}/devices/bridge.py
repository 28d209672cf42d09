"""Bridge from the MQTT broker to the database: stores what devices send, and sends commands."""

import json
import logging
import math
import queue
import time
from collections import defaultdict
from typing import Any

from django.db import Error, close_old_connections
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from devices.messages import KINDS, DeviceMessage, ReadingMessage, parse
from devices.models import State, change_command, claim_commands
from devices.mqtt import KEEPALIVE, broker, new_client, topic
from devices.storing import store_messages
from realtime.threads import close_connections, keep_connections

BATCH = 500  # messages stored together
PAUSE_SECONDS = 0.1  # until a batch that is not full is stored
RETRY_SECONDS = 1  # after an error of the database
COMMANDS = 100  # sent at once
RECEIVE_MAXIMUM = 1000  # messages that the broker sends before it waits for acknowledgements
MAX_BYTES = 64 * 1024  # of a packet; the broker drops larger ones
SESSION_SECONDS = 600  # for which the broker keeps messages for a bridge that is down

logger = logging.getLogger(__name__)


class Bridge:
    """Bridge with one connection to the broker.

    paho's thread queues the messages. Those of a connection that was lost are stored, too, but not
    acknowledged: the broker sends them again, and the known ones are skipped.
    """

    def __init__(self, name: str) -> None:
        self.arrived: queue.Queue[tuple[int, MQTTMessage]] = queue.Queue(2 * RECEIVE_MAXIMUM)
        self.connections = 0  # number of the current one
        self.sent: queue.SimpleQueue[int] = queue.SimpleQueue()  # ids of packets
        self.packets: dict[int, tuple[str, int]] = {}  # commands by the ids of their packets
        self.stored: defaultdict[str, list[int]] = defaultdict(list)  # to be confirmed
        self.stored_count = 0
        self.stopping = False
        self.bad = BadMessages()
        self.client = new_client(name, manual_ack=True)
        self.client.on_connect = self.on_connect
        self.client.on_disconnect = self.on_disconnect
        self.client.on_message = self.on_message
        self.client.on_publish = self.on_publish

    def stop(self, *_: object) -> None:
        """Let `run()` return after the current batch. A signal handler may call it."""
        self.stopping = True

    # In paho's thread

    def on_connect(self, client: Client, _: Any, flags: Any, reason: Any, *__: Any) -> None:
        self.connections += 1
        if reason.is_failure:
            logger.error("The broker refuses the connection: %s", reason)
            return
        logger.info("Connected to the broker")
        # The broker sends retained messages, which states are, to no shared subscription.
        shared = [f"$share/bridges/{topic('+', kind)}" for kind in KINDS if kind != "status"]
        client.subscribe([(name, 1) for name in (*shared, topic("+", "status"))])

    def on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, *____: Any) -> None:
        if not self.stopping:
            logger.warning("The connection to the broker is lost, connecting again: %s", reason)

    def on_message(self, _: Any, __: Any, message: MQTTMessage) -> None:
        self.arrived.put((self.connections, message))

    def on_publish(self, _: Any, __: Any, packet: int, reason: Any, *___: Any) -> None:
        if reason.value == 0:  # else no device has subscribed
            self.sent.put(packet)

    # In the main thread

    def run(self) -> None:
        """Serve until `stop()` is called."""
        keep_connections()
        host, port, _, _, tls = broker()
        logger.info("Connecting to %s:%s%s", host, port, " with TLS" if tls else "")
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_SECONDS
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAX_BYTES
        self.client.connect_async(host, port, KEEPALIVE, clean_start=False, properties=properties)
        self.client.reconnect_delay_set(1, 10)
        self.client.loop_start()
        due = time.monotonic()
        while not self.stopping:
            self.handle(self.take())
            if time.monotonic() >= due:
                due = time.monotonic() + RETRY_SECONDS
                self.confirm()
                self.send_commands()
            close_old_connections()
        self.confirm()
        self.client.disconnect()
        self.client.loop_stop()
        logger.info("Stored %s messages", self.stored_count)
        close_connections()

    def take(self) -> list[tuple[int, MQTTMessage]]:
        """Wait for messages, and return a batch of them."""
        batch: list[tuple[int, MQTTMessage]] = []
        deadline = time.monotonic() + PAUSE_SECONDS
        while len(batch) < BATCH:
            try:
                batch.append(self.arrived.get(timeout=max(0, deadline - time.monotonic())))
            except queue.Empty:
                break
        return batch

    def handle(self, batch: list[tuple[int, MQTTMessage]]) -> None:
        """Store a batch, then acknowledge it."""
        messages = [parsed for _, message in batch if (parsed := self.parse(message))]
        if messages and not self.store(messages):
            return
        for connection, message in batch:
            if connection == self.connections:  # ids of packets are those of a connection
                self.client.ack(message.mid, message.qos)

    def parse(self, message: MQTTMessage) -> DeviceMessage | None:
        """Return the content of a message, or None and a line in the log if it is invalid."""
        try:
            return parse(message.topic, bytes(message.payload))
        except ValueError as error:
            self.bad.log(error)
            return None

    def store(self, messages: list[DeviceMessage]) -> bool:
        """Store messages, again and again while the database is down. Return False if stopped."""
        is_failing = False
        while not self.stopping or not is_failing:
            try:
                stored = store_messages(messages)
                self.stored_count += len(stored)
                for message in stored:
                    if isinstance(message, ReadingMessage):
                        self.stored[message.device].append(message.number)
                return True
            except Error as error:
                if not is_failing:
                    logger.warning("The database stores nothing, retrying: %s", error)
                is_failing = True
                close_connections()
                time.sleep(RETRY_SECONDS)
        return False

    def confirm(self) -> None:
        """Confirm to the devices which readings are stored."""
        for device, numbers in self.stored.items():
            self.client.publish(topic(device, "stored"), json.dumps({"numbers": numbers}))
        self.stored.clear()

    def send_commands(self) -> None:
        """Send the commands that wait, and store which ones the broker has."""
        if not self.client.is_connected():
            return
        try:
            while not self.sent.empty():
                if found := self.packets.pop(self.sent.get(), None):
                    change_command(*found, {State.WAITING}, state=State.SENT)
            for command in claim_commands(COMMANDS):
                name, content = command.device.name, {"id": command.pk, "command": command.text}
                info = self.client.publish(topic(name, "commands"), json.dumps(content), qos=1)
                self.packets[info.mid] = name, command.pk
        except Error as error:
            logger.warning("The database was not asked for commands, retrying: %s", error)
            close_connections()


class BadMessages:
    """Count of invalid messages, with one line in the log each second at most."""

    def __init__(self) -> None:
        self.count = 0
        self.logged_at = -math.inf

    def log(self, error: ValueError) -> None:
        """Count a message, and log the reason."""
        self.count += 1
        if time.monotonic() >= self.logged_at + RETRY_SECONDS:
            self.logged_at = time.monotonic()
            logger.warning("Dropped %s invalid messages. The last one: %s", self.count, error)
