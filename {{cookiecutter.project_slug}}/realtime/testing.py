"""WebSocket client for tests of consumers, without a server.

An import of this module also keeps Channels from closing the database connection of a test.
"""

import json
from collections.abc import Iterable, Sequence
from http.cookies import SimpleCookie
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import channels.db
from asgiref.testing import ApplicationCommunicator
from django.db import connections

from realtime.types import Application, Message

TIMEOUT = 5  # seconds to wait for a message of the application

type Event = dict[str, Any]


def close_old_connections(**_: Any) -> None:
    """Close database connections that are too old, but none in the transaction of a test."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


# Channels calls it around each query.
channels.db.close_old_connections = close_old_connections  # type: ignore[attr-defined]


class SocketClient:
    """Client of an ASGI application, which may be a consumer or the whole stack of `asgi.py`.

    Unlike `channels.testing` this needs no daphne. It works in each of Django's test cases.
    """

    def __init__(self, communicator: ApplicationCommunicator, answer: Message) -> None:
        self.communicator = communicator
        self.answer = answer  # the message that accepts or refuses the handshake

    @classmethod
    async def connect(
        cls,
        application: Application,
        url: str = "/",
        *,
        cookies: SimpleCookie | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        subprotocols: Sequence[str] = (),
        **scope: Any,
    ) -> Self:
        """Open a socket at a path, which may have a query, and wait for the answer.

        Pass `cookies=client.cookies` to be the user of a `django.test.Client`. Further keywords
        become items of the ASGI scope, such as `user=` in a test of a consumer alone.
        """
        parts = urlsplit(url)
        if cookies:
            pairs = "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items())
            headers = [*headers, (b"cookie", pairs.encode())]
        scope = {
            "type": "websocket",
            "path": unquote(parts.path),
            "query_string": parts.query.encode(),
            "headers": list(headers),
            "subprotocols": list(subprotocols),
            **scope,
        }
        communicator = ApplicationCommunicator(application, scope)
        await communicator.send_input({"type": "websocket.connect"})
        return cls(communicator, await communicator.receive_output(TIMEOUT))

    @property
    def connected(self) -> bool:
        """Return whether the handshake was accepted."""
        return bool(self.answer["type"] == "websocket.accept")

    async def send(self, **event: Any) -> None:
        """Send an event as one text frame."""
        await self.send_text(json.dumps(event))

    async def send_text(self, text: str) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "bytes": data})

    async def receive(self, *, presence: bool = False) -> Event:
        """Return the next event. Skip `presence` events unless they are asked for."""
        while True:
            message = await self.communicator.receive_output(TIMEOUT)
            assert message["type"] == "websocket.send", message
            event: Event = json.loads(message["text"])
            if presence or event["type"] != "presence":
                return event

    async def receive_until(self, kind: str) -> list[Event]:
        """Return the events up to the first of this type, inclusive."""
        events: list[Event] = []
        while not events or events[-1]["type"] != kind:
            events.append(await self.receive(presence=kind == "presence"))
        return events

    async def wait_for_users(self, *names: str) -> Event:
        """Wait until exactly the users with these names are present. Return the last event."""
        while True:
            (*_, event) = await self.receive_until("presence")
            if [user["user"] for user in event.get("users", ())] == sorted(names):
                return event

    async def receives_nothing(self) -> bool:
        """Return whether the answer to a ping is the next event."""
        await self.send(type="ping")
        return await self.receive() == {"type": "pong"}

    async def close_code(self) -> int:
        """Return the code of the close that follows, skipping what is sent before it."""
        while (message := await self.communicator.receive_output(TIMEOUT))["type"] != (
            "websocket.close"
        ):
            pass
        return int(message.get("code", 1000))

    async def disconnect(self, code: int = 1000) -> None:
        """Disconnect, and wait until the application has cleaned up."""
        await self.communicator.send_input({"type": "websocket.disconnect", "code": code})
        await self.communicator.wait(TIMEOUT)
