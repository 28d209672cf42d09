"""Sends events to everybody in a group, from any Django code."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from realtime.hub import PROCESSES, hubs
from realtime.protocol import encode

logger = logging.getLogger(__name__)


def group_name(kind: str, name: str) -> str:
    """A group's name for a thing of any name, since layers allow few characters."""
    return f"{kind}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def publish(group: str, event: Mapping[str, Any], *, sender: str = "") -> None:
    """Send an event to the group once the open transaction, if any, is committed.

    The member whose `id` is `sender` does not get it. What cannot be sent because the
    channel layer is away is logged: it is stored, and replayed to those who come back.
    Raises RuntimeError in an event loop, which it would block: use `apublish` there.
    """
    refuse_in_event_loop("publish()", "await apublish() instead")
    message = envelope(group, event, sender)
    transaction.on_commit(lambda: send_from_sync(group, message))


async def apublish(group: str, event: Mapping[str, Any], *, sender: str = "") -> None:
    """The same from async code, where no transaction is open, and so at once."""
    await send(group, envelope(group, event, sender))


def sign_out(user_name: str, credential: str | None = None) -> None:
    """Close the sockets of a user with 4403, on every process, once the transaction is committed.

    With a credential only those that came in by it. Where the channel layer is away, the other
    processes are told when it is back. Raises RuntimeError in an event loop, which it would block.
    """
    refuse_in_event_loop("sign_out()", "await sync_to_async(sign_out)() instead")
    message = {"type": "realtime.sign_out", "user": user_name, "credential": credential}

    def sign_out_now() -> None:
        if loop := socket_loop():
            asyncio.run_coroutine_threadsafe(hubs[loop].tell_all(message), loop).result()
        else:
            async_to_sync(send)(PROCESSES, message)

    transaction.on_commit(sign_out_now)


def refuse_in_event_loop(name: str, remedy: str) -> None:
    """Raise RuntimeError in an event loop, where waiting for the sockets' loop may never end.

    Django itself refuses only queries there, and none with `DJANGO_ALLOW_ASYNC_UNSAFE`.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{name} blocks, and was called in an event loop. Use {remedy}.")


def envelope(group: str, event: Mapping[str, Any], sender: str) -> dict[str, Any]:
    # Encoded once for all members, and as text: layers fail on dates and on keys that are numbers.
    return {
        "type": "realtime.event",
        "group": group,
        "text": encode(event),
        "seq": event.get("seq"),
        "sender": sender,
    }


def send_from_sync(group: str, message: dict[str, Any]) -> None:
    """Send in the event loop of the sockets, and wait for it."""
    if loop := socket_loop():
        asyncio.run_coroutine_threadsafe(send(group, message), loop).result()
    else:
        async_to_sync(send)(group, message)


def socket_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this process's sockets, if it has any."""
    return next((loop for loop in hubs if loop.is_running()), None)


async def send(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()
    assert layer is not None
    try:
        await layer.group_send(group, message)
    except Exception:
        logger.exception("Nothing was sent to group %s", group)
