"""The base of all consumers: JSON events in, JSON events out."""

from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from channels.generic.websocket import WebsocketConsumer
from django.conf import settings

from realtime.lifecycle import Lifecycle
from realtime.protocol import Close, EventError, decode, encode


class RealtimeConsumer(Lifecycle, WebsocketConsumer):
    """A socket of the user in `scope["user"]`.

    Subclasses implement `joined()`, called once when the socket is open, and `receive_event()`.
    """

    errors_in_a_row = 0

    def joined(self) -> None:
        """Greet the client and join groups."""

    def receive_event(self, event: dict[str, Any]) -> None:
        """Act on an event other than `ping`; raise EventError to refuse it."""
        raise EventError("unknown_type", "There is no event of this type.")

    def connect(self) -> None:
        self.user_name = self.scope["user"].get_username()
        self.accept()
        self.joined()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            event = decode(text_data)
            if event["type"] == "ping":
                self.send_event({"type": "pong"})
            else:
                self.receive_event(event)
        except EventError as error:
            self.refuse(error)
        else:
            self.errors_in_a_row = 0

    def refuse(self, error: EventError) -> None:
        """Tell the client what was wrong, and close when it never gets it right."""
        self.send_event(error.event())
        self.errors_in_a_row += 1
        if self.errors_in_a_row >= settings.REALTIME_MAX_ERRORS:
            self.close(Close.TOO_MANY_ERRORS)

    def join(self, group: str) -> None:
        """Receive what is published to the group."""
        self.groups.append(group)
        async_to_sync(self.channel_layer.group_add)(group, self.channel_name)

    def realtime_event(self, message: dict[str, Any]) -> None:
        """Pass on what was published to a group."""
        if message["sender"] != self.channel_name:
            self.send(message["text"])

    def send_event(self, event: Mapping[str, Any]) -> None:
        self.send(encode(event))
