"""The base of all consumers: JSON events in, JSON events out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from channels.consumer import get_handler_name
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from realtime.history import History
from realtime.lifecycle import Lifecycle
from realtime.protocol import EventError, encode


class RealtimeConsumer(Lifecycle, AsyncWebsocketConsumer):
    """A socket of the user in `scope["user"]`.

    Subclasses implement `joined()`, called once when the socket is open, and `receive_event()`.
    """

    async def joined(self) -> None:
        """Greet the client and join groups."""

    async def receive_event(self, event: dict[str, Any]) -> None:
        """Act on an event other than `ping`; raise EventError to refuse it."""
        raise EventError("unknown_type", "There is no event of this type.")

    async def receive_bytes(self, data: bytes) -> None:
        """Act on a binary frame, which is refused unless a subclass knows what to do with it."""
        raise EventError("binary", "Send text frames.")

    async def connect(self) -> None:
        await self.accept()
        await self.joined()

    async def join(
        self, group: str, history: History | None = None, *, presence: bool = False
    ) -> int:
        """Receive what is published to the group, and who is there if `presence` is wanted.

        With a history, events are kept back until `replay()`, and the number of the latest one is
        returned.
        """
        await self.enter(group, history, presence)
        if history is None:
            return 0
        latest = await database_sync_to_async(history.latest)([history.key])
        return latest.get(history.key, 0)

    async def replay(self, group: str, history: History, after: int, until: int) -> None:
        """Send the events with `after < seq <= until`, and from then on what is new."""
        await self.catch_up(group, history, after, until)

    async def send_event(self, event: Mapping[str, Any]) -> None:
        await self.send(encode(event))

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Without Channels' visit to a thread for each message: `realtime.threads` closes old
        # database connections.
        handler = getattr(self, get_handler_name(message), None)
        if handler is None:
            raise ValueError(f"No handler for message type {message['type']}")
        await handler(message)

    async def call(self, handler: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        await handler(*arguments)
