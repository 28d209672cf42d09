"""Bridge from an MQTT broker to the database."""

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from django.db import DataError, Error, IntegrityError, close_old_connections
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from realtime.mqtt.client import broker, connect, new_client
from realtime.process import keep_channel_layer
from realtime.threads import close_connections, keep_connections

BATCH = 500  # messages stored together
BATCH_SECONDS = 0.1  # until a batch is stored, or sooner if no message comes for PAUSE_SECONDS
PAUSE_SECONDS = 0.01
TURN_SECONDS = 1  # between turns, and after an error of the database or the network
RECEIVE_MAXIMUM = 1000  # messages that the broker sends before it waits for acknowledgements
MAX_BYTES = 64 * 1024  # of a packet; the broker drops larger ones
SESSION_SECONDS = 60  # for which the broker keeps a bridge's share of messages while it is down
CONNECTED = "Connected to the broker"

logger = logging.getLogger(__name__)


class Arrived(NamedTuple):
    """Message that is not acknowledged yet. `content` is None if it was invalid."""

    message: MQTTMessage
    content: Any


class Bridge(ABC):
    """Process that stores the messages of topics. A subclass defines topics, parsing and storing.

    A message of QoS 1 is acknowledged after `store()` has returned. So a kill loses none, and
    one may come twice. Everything runs in one thread.
    """

    topics: Sequence[str] = ()  # each bridge gets all their messages, and the retained ones first
    shared_topics: Sequence[str] = ()  # each message goes to one bridge of all

    def __init__(self, client_id: str) -> None:
        self.client = new_client(client_id, manual_ack=True)
        self.client.on_connect = self.on_connect
        self.client.on_disconnect = self.on_disconnect
        self.client.on_subscribe = self.on_subscribe
        self.client.on_message = self.on_message
        self.arrived: list[Arrived] = []
        self.lost = 0  # number of those that came by an earlier connection, and come again
        self.connects_at = self.stores_at = 0.0  # not before
        self.dropped = 0
        self.stored = 0
        self.reason = self.line = ""
        self.stopping = False

    @abstractmethod
    def parse(self, topic: str, payload: bytes) -> Any:
        """Return the content of a message. Raise ValueError with the reason if it is invalid."""

    @abstractmethod
    def store(self, contents: Sequence[Any]) -> None:
        """Store the contents of messages in one transaction.

        If it raises, the halves of the batch are tried: a message that cannot be stored is dropped
        alone. While the database is down, all are tried again.
        """

    def turn(self) -> None:
        """Do what is due each second, while the broker is connected. Extend it."""
        if self.dropped:
            logger.warning("Dropped %s invalid messages. The last: %s", self.dropped, self.reason)
            self.dropped = 0

    def publish(self, topic: str, content: Any, *, qos: int = 0) -> None:
        """Send a message as JSON."""
        self.client.publish(topic, json.dumps(content), qos)

    def stop(self, *_: object) -> None:
        """Let `run()` return after the current batch. A signal handler may call it."""
        self.stopping = True

    def run(self) -> None:
        """Serve until `stop()` is called."""
        keep_connections()
        keep_channel_layer()
        turns_at = time.monotonic()
        while not self.stopping:
            self.receive()
            now = time.monotonic()
            if now < self.stores_at:
                continue
            try:
                self.store_arrived()
                if now >= turns_at and self.client.is_connected():
                    turns_at = now + TURN_SECONDS
                    self.turn()
                close_old_connections()
            except Error as error:  # the tables may be missing, too
                self.say(logging.WARNING, f"The database stores nothing, retrying: {error}")
                self.stores_at = time.monotonic() + TURN_SECONDS
                close_connections()
        with suppress(Error):
            self.store_arrived()
            self.turn()
        self.client.disconnect()
        close_connections()
        logger.info("Stored %s messages", self.stored)

    def receive(self) -> None:
        """Serve the connection until a batch has arrived."""
        end = time.monotonic() + BATCH_SECONDS
        while True:
            before = len(self.arrived)
            timeout = PAUSE_SECONDS if before else BATCH_SECONDS
            if self.client.loop(timeout) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.connect()
            count = len(self.arrived)
            if 0 < count == before or count >= BATCH or time.monotonic() > end or self.stopping:
                return

    def connect(self) -> None:
        """Connect, or connect again. What has arrived will be stored, but not acknowledged."""
        del self.arrived[RECEIVE_MAXIMUM:]
        self.lost = len(self.arrived)
        if self.line in {"", CONNECTED}:
            self.say(logging.INFO, f"Connecting to {broker().host}:{broker().port}")
        time.sleep(max(0, self.connects_at - time.monotonic()))
        self.connects_at = time.monotonic() + TURN_SECONDS
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_SECONDS
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAX_BYTES
        try:
            connect(self.client, clean_start=False, properties=properties)
        except OSError as error:
            self.say(logging.WARNING, f"The broker is not reached, retrying: {error}")

    def store_arrived(self) -> None:
        """Store what has arrived, then acknowledge it."""
        while part := self.arrived[:BATCH]:
            self.store_or_drop([one.content for one in part if one.content is not None])
            for message, _ in part[self.lost :]:  # packet ids are those of a connection
                self.client.ack(message.mid, message.qos)
            self.arrived = self.arrived[BATCH:]
            self.lost = max(0, self.lost - BATCH)
        if self.stores_at:
            self.say(logging.INFO, "The database stores again")
            self.stores_at = 0

    def store_or_drop(self, contents: list[Any]) -> None:
        """Store messages. Drop the ones that cannot be. Raise Error if the database is down."""
        if not contents:
            return
        try:
            self.store(contents)
        except Exception as error:
            if isinstance(error, Error) and not isinstance(error, DataError | IntegrityError):
                raise
            if len(contents) == 1:
                logger.exception("This message cannot be stored: %r", contents[0])
                return
        else:
            self.stored += len(contents)
            return
        half = len(contents) // 2
        self.store_or_drop(contents[:half])
        self.store_or_drop(contents[half:])

    def say(self, level: int, line: str) -> None:
        """Log a line, unless the last one was the same."""
        if line != self.line:
            self.line = line
            logger.log(level, "%s", line)

    def on_connect(self, client: Client, _: Any, flags: Any, reason: Any, *__: Any) -> None:
        if reason.is_failure:
            self.say(logging.ERROR, f"The broker refuses the connection: {reason}")
            return
        self.say(logging.INFO, CONNECTED)
        shared = [f"$share/bridges/{topic}" for topic in self.shared_topics]
        client.subscribe([(topic, 1) for topic in (*shared, *self.topics)])

    def on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, *____: Any) -> None:
        if self.line == CONNECTED and not self.stopping:
            fix = "If this repeats, another client has the same id"
            self.say(logging.WARNING, f"The connection to the broker ended ({reason}). {fix}")

    def on_subscribe(self, _: Any, __: Any, ___: Any, reasons: Any, *____: Any) -> None:
        if refused := [str(reason) for reason in reasons if reason.is_failure]:
            self.say(logging.ERROR, f"The broker refuses a subscription: {', '.join(refused)}")

    def on_message(self, _: Any, __: Any, message: MQTTMessage) -> None:
        if message.qos == 0 and len(self.arrived) >= RECEIVE_MAXIMUM:
            return  # while the database is down; QoS 0 promises nothing
        content = None
        try:
            content = self.parse(message.topic, bytes(message.payload))
        except ValueError as error:
            self.dropped += 1
            self.reason = f"{message.topic}: {error}"
        self.arrived.append(Arrived(message, content))
