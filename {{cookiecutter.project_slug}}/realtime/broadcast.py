"""Events to all members of a group, and the end of sockets, from any Django code."""

import asyncio
import functools
import logging
from collections.abc import Coroutine, Iterable, Mapping
from itertools import batched
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db import transaction

from realtime import process
from realtime.bus import PROCESSES
from realtime.process import get_process, running_loop
from realtime.protocol import encode
from realtime.protocol import group_name as group_name  # a public name of this module
from realtime.tasks import TURN
from realtime.threads import refuse_in_event_loop

logger = logging.getLogger(__name__)


def publish(
    group: str, event: Mapping[str, Any], *, sender: str = "", numbered: bool = True
) -> None:
    """Send an event to the group once the open transaction, if any, is committed.

    The connection whose id is `sender` does not receive it. An event with a `seq` is one that is
    stored, unless `numbered=False`: then it changes a stored one, and has the number of that one.
    If the channel layer is unavailable, the event is logged as not sent: members with a history
    read it from there. Raise ValueError for an event without a `type`, which clients need. Raise
    RuntimeError in an event loop, which it would block: use `apublish`.
    """
    refuse_in_event_loop("publish()", "await apublish() instead")
    message = layer_message(group, event, sender, numbered)
    transaction.on_commit(lambda: run_in_sockets_loop(send(group, message)))


async def apublish(
    group: str, event: Mapping[str, Any], *, sender: str = "", numbered: bool = True
) -> None:
    """Send an event to the group at once, from async code, where no transaction is open.

    Raise ValueError for an event without a `type`.
    """
    await send(group, layer_message(group, event, sender, numbered))


def publish_many(events: Iterable[tuple[str, Mapping[str, Any]]], *, numbered: bool = True) -> None:
    """Send events like `publish`. Each is a pair of its group and the event."""
    refuse_in_event_loop("publish_many()", "await sync_to_async(publish_many)()")
    messages = [(group, layer_message(group, event, "", numbered)) for group, event in events]

    async def send_all() -> None:
        for batch in batched(messages, TURN):
            await asyncio.gather(*(send(group, message) for group, message in batch))

    transaction.on_commit(lambda: run_in_sockets_loop(send_all()))


def disconnect_user(user_id: str, credential: str | None = None) -> None:
    """Close the sockets of a user with 4403, on every process, once the transaction is committed.

    With a credential, close only those that signed in by it. If the channel layer is unavailable,
    the other processes receive it later. Raise RuntimeError in an event loop.
    """
    message = {"type": "realtime.disconnect", "user": str(user_id), "credential": credential}
    broadcast_to_processes("disconnect_user", message)


def disconnect_credential(credential: str, *, sender: str = "") -> None:
    """Close the sockets that signed in by a session or token which has ended, or is about to.

    The credential opens no more sockets from then on. The connection whose id is `sender` stays.
    Otherwise like `disconnect_user`.
    """
    message = {"type": "realtime.end", "credential": credential, "sender": sender}
    broadcast_to_processes("disconnect_credential", message)


def remove_from_group(group: str, user_id: str) -> None:
    """Close the sockets of a user that joined the group with 4403, like `disconnect_user`."""
    message = {"type": "realtime.remove", "user": str(user_id), "group": group}
    broadcast_to_processes("remove_from_group", message)


def broadcast_to_processes(name: str, message: dict[str, Any]) -> None:
    refuse_in_event_loop(f"{name}()", f"await sync_to_async({name})() instead")

    async def broadcast() -> None:
        get_process().bus.broadcast(message)

    def send_now() -> None:
        if running_loop():
            run_in_sockets_loop(broadcast())
        else:
            run_in_sockets_loop(send(PROCESSES, message))

    transaction.on_commit(send_now)


def layer_message(
    group: str, event: Mapping[str, Any], sender: str, numbered: bool
) -> dict[str, Any]:
    if not isinstance(event.get("type"), str):
        raise ValueError('Give the event a type: {"type": "news", ...}')
    # Encoded once for all members, and as text: layers fail on dates and on keys that are numbers.
    return {
        "type": "realtime.event",
        "group": group,
        "text": encode(event),
        "seq": event.get("seq") if numbered else 0,
        "sender": sender,
    }


def run_in_sockets_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in the event loop of the sockets, if there is one, and wait for it."""

    async def run() -> None:
        await work

    if loop := running_loop():
        asyncio.run_coroutine_threadsafe(work, loop).result()
    else:
        async_to_sync(run)()


async def send(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()
    assert layer is not None
    # The server finds a stored event by itself, within five seconds.
    unstored = group != PROCESSES and not message["seq"]
    if unstored and isinstance(layer, InMemoryChannelLayer) and not has_sockets():
        warn_of_memory()
    try:
        await layer.group_send(group, message)
    except Exception:
        logger.exception("Nothing was sent to group %s", group)


def has_sockets() -> bool:
    return process.is_serving or any(one.connections for one in process.processes.values())


@functools.cache
def warn_of_memory() -> None:
    """Warn once of events that reach no socket, because the server is another process."""
    logger.warning(
        "The in-memory channel layer does not reach the server's process, whose sockets miss an "
        "event. Set REDIS_URL, or publish in a view."
    )
