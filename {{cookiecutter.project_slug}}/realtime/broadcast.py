"""Sends events to everybody in a group, from any Django code."""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from realtime.protocol import encode

logger = logging.getLogger(__name__)


def group_name(kind: str, name: str) -> str:
    """A group's name for a thing of any name, since layers allow few characters."""
    return f"{kind}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def publish(group: str, event: Mapping[str, Any], *, sender: str = "") -> None:
    """Send an event to the group once the open transaction, if any, is committed.

    The member whose channel name is `sender` does not get it. What cannot be sent because the
    channel layer is away is logged: it is stored, and replayed to those who come back.
    """
    message = envelope(event, sender)
    transaction.on_commit(lambda: async_to_sync(send)(group, message))


async def apublish(group: str, event: Mapping[str, Any], *, sender: str = "") -> None:
    """The same from async code, where no transaction is open, and so at once."""
    await send(group, envelope(event, sender))


def envelope(event: Mapping[str, Any], sender: str) -> dict[str, Any]:
    # Encoded once for all members, and as text: layers fail on dates and on keys that are numbers.
    return {
        "type": "realtime.event",
        "text": encode(event),
        "seq": event.get("seq"),
        "sender": sender,
    }


async def send(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()
    assert layer is not None
    try:
        await layer.group_send(group, message)
    except Exception:
        logger.exception("Nothing was sent to group %s", group)
