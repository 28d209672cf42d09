"""The base of all consumers: JSON events in, JSON events out."""

from collections.abc import Mapping
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from realtime.lifecycle import Lifecycle
from realtime.protocol import Close, EventError, decode, encode


class RealtimeConsumer(Lifecycle, AsyncWebsocketConsumer):
    """A socket of the user in `scope["user"]`.

    Subclasses implement `joined()`, called once when the socket is open, and `receive_event()`.
    """

    errors_in_a_row = 0

    async def joined(self) -> None:
        """Greet the client and join groups."""

    async def receive_event(self, event: dict[str, Any]) -> None:
        """Act on an event other than `ping`; raise EventError to refuse it."""
        raise EventError("unknown_type", "There is no event of this type.")

    async def connect(self) -> None:
        self.user_name = self.scope["user"].get_username()
        await self.accept()
        await self.joined()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            event = decode(text_data)
            if event["type"] == "ping":
                await self.send_event({"type": "pong"})
            else:
                await self.receive_event(event)
        except EventError as error:
            await self.refuse(error)
        else:
            self.errors_in_a_row = 0

    async def refuse(self, error: EventError) -> None:
        """Tell the client what was wrong, and close when it never gets it right."""
        await self.send_event(error.event())
        self.errors_in_a_row += 1
        if self.errors_in_a_row >= settings.REALTIME_MAX_ERRORS:
            await self.close(Close.TOO_MANY_ERRORS)

    async def join(self, group: str) -> None:
        """Receive what is published to the group."""
        self.groups.append(group)
        await self.channel_layer.group_add(group, self.channel_name)

    async def realtime_event(self, message: dict[str, Any]) -> None:
        """Pass on what was published to a group."""
        if message["sender"] != self.channel_name:
            await self.send(message["text"])

    async def send_event(self, event: Mapping[str, Any]) -> None:
        await self.send(encode(event))
