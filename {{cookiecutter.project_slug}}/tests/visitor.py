"""A client of the project's ASGI application, without a server in between."""

import json
from typing import Any, Self
from urllib.parse import quote

from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator

from config.asgi import application
from tests.people import handshake_headers

type Event = dict[str, Any]


class Visitor:
    """Speaks in events.

    `opened` tells whether the handshake was accepted, `subprotocol` what the server chose then.
    """

    def __init__(
        self, communicator: WebsocketCommunicator, opened: bool, subprotocol: str | int | None
    ) -> None:
        self.communicator = communicator
        self.opened = opened
        self.subprotocol = subprotocol

    @classmethod
    async def arrive(
        cls,
        path: str,
        name: str | None,
        query: str = "",
        headers: list[tuple[bytes, bytes]] | None = None,
        subprotocols: list[str] | None = None,
    ) -> Self:
        """Connect as the user of that name, or as nobody, with what else a client may send."""
        credentials = await sync_to_async(handshake_headers)(name) if name else []
        communicator = WebsocketCommunicator(
            application, quote(path, safe="/%") + query, credentials + (headers or []), subprotocols
        )
        return cls(communicator, *await communicator.connect(timeout=5))

    async def send(self, **event: Any) -> None:
        await self.send_text(json.dumps(event))

    async def send_text(self, text: str) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "bytes": data})

    async def receive(self) -> Event:
        event: Event = json.loads(await self.communicator.receive_from(timeout=5))
        return event

    async def receive_until(self, kind: str) -> list[Event]:
        """The events up to the first of that type, and it."""
        events = [await self.receive()]
        while events[-1]["type"] != kind:
            events.append(await self.receive())
        return events

    async def hears_nothing(self) -> bool:
        """Whether an answer to a ping is the next to arrive."""
        await self.send(type="ping")
        return await self.receive() == {"type": "pong"}

    async def close_code(self) -> int:
        """The code of the close that follows, whatever comes before it."""
        while True:
            message = await self.communicator.receive_output(timeout=5)
            if message["type"] == "websocket.close":
                code: int = message["code"]
                return code

    async def leave(self) -> None:
        await self.communicator.disconnect(timeout=5)
