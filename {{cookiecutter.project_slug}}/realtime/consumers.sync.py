"""The base of all consumers: JSON events in, JSON events out."""

from collections.abc import Callable, Mapping
from typing import Any

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.generic.websocket import WebsocketConsumer

from realtime.history import History
from realtime.lifecycle import Lifecycle
from realtime.protocol import EventError, encode


class RealtimeConsumer(Lifecycle, WebsocketConsumer):
    """A socket of the user in `scope["user"]`.

    Subclasses implement `joined()`, called once when the socket is open, and `receive_event()`.
    """

    def joined(self) -> None:
        """Greet the client and join groups."""

    def receive_event(self, event: dict[str, Any]) -> None:
        """Act on an event other than `ping`; raise EventError to refuse it."""
        raise EventError("unknown_type", "There is no event of this type.")

    def receive_bytes(self, data: bytes) -> None:
        """Act on a binary frame, which is refused unless a subclass knows what to do with it."""
        raise EventError("binary", "Send text frames.")

    def connect(self) -> None:
        self.accept()
        self.joined()

    def join(self, group: str, history: History | None = None, *, presence: bool = False) -> int:
        """Receive what is published to the group, and who is there if `presence` is wanted.

        With a history, events are kept back until `replay()`, and the number of the latest one is
        returned.
        """
        async_to_sync(self.enter)(group, history, presence)
        if history is None:
            return 0
        return history.latest([history.key]).get(history.key, 0)

    def replay(self, group: str, history: History, after: int, until: int) -> None:
        """Send the events with `after < seq <= until`, and from then on what is new.

        The replay starts when the handler returns, so that no thread waits for a slow client.
        """
        self.replays.append((group, history, after, until))

    def send_event(self, event: Mapping[str, Any]) -> None:
        self.send(encode(event))

    @database_sync_to_async
    def call(self, handler: Callable[..., None], *arguments: Any) -> None:
        handler(*arguments)
