"""Clients of the MQTT broker."""

import sys
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from realtime.conf import settings

KEEPALIVE = 30  # seconds; the broker sends the last will after one and a half of them


def broker() -> Any:
    """Return the broker of MQTT_URL. Exit with one line if there is none."""
    if settings.MQTT is None:
        sys.exit("MQTT_URL: missing. Set it, such as MQTT_URL=mqtts://user:password@host:8883")
    return settings.MQTT


def new_client(client_id: str, *, manual_ack: bool = False) -> Client:
    """Return a client of the broker. `connect()` connects it.

    With `manual_ack`, it acknowledges a message by `client.ack(message.mid, message.qos)`. This is
    why it is a client of paho-mqtt: aiomqtt acknowledges on arrival, before anything is stored.
    """
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=manual_ack,
    )
    if broker().user:
        client.username_pw_set(broker().user, broker().password)
    if broker().tls:
        client.tls_set()
    return client


def connect(client: Client, **options: Any) -> None:
    """Connect a client to the broker. Raise OSError if it is not reached."""
    client.connect(broker().host, broker().port, KEEPALIVE, **options)
