"""Clients of the MQTT broker, and the topics of devices."""

import sys
from typing import Any

from django.conf import settings
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

KEEPALIVE = 30  # seconds; the broker sends the last will after one and a half of them


def topic(device: str, kind: str) -> str:
    """Return the topic of a device, or of all devices with `+`."""
    return f"{settings.DEVICES_PREFIX}/{device}/{kind}"


def broker() -> Any:
    """Return the broker of MQTT_URL. Exit with one line if there is none."""
    if settings.MQTT is None:
        sys.exit("MQTT_URL: missing. Set it, such as MQTT_URL=mqtts://user:password@host:8883")
    return settings.MQTT


def new_client(name: str, *, manual_ack: bool = False) -> Client:
    """Return a client of the broker, not connected yet."""
    # paho-mqtt lets the bridge acknowledge a message once it is stored. aiomqtt does so on arrival,
    # and a killed bridge would lose the rest.
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"{settings.DEVICES_PREFIX}-{name}",
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=manual_ack,
    )
    _, _, user, password, tls = broker()
    if user:
        client.username_pw_set(user, password)
    if tls:
        client.tls_set()
    return client
