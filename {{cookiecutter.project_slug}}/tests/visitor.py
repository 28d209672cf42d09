"""A client of the project's ASGI application, without a server in between."""

import json
from typing import Any, Self

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator

from config.asgi import application
from tests.people import handshake_headers

type Event = dict[str, Any]


class Visitor:
    """Speaks in events; `answer` is what the handshake was answered with.

    Channels' own communicator is not used, since it keeps database connections from being closed.
    """

    def __init__(self, communicator: ApplicationCommunicator, answer: dict[str, Any]) -> None:
        self.communicator = communicator
        self.answer = answer

    @classmethod
    async def arrive(
        cls,
        path: str,
        name: str | None,
        query: str = "",
        headers: list[tuple[bytes, bytes]] | None = None,
        subprotocols: list[str] | None = None,
        extensions: dict[str, Any] | None = None,
    ) -> Self:
        """Connect as the user of that name, or as nobody, with what else a client may send.

        `extensions` are those of the server (ASGI specification, "Extensions").
        """
        credentials = await sync_to_async(handshake_headers)(name) if name else []
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": query.encode(),
            "headers": credentials + (headers or []),
            "subprotocols": subprotocols or [],
            "extensions": extensions or {},
        }
        communicator = ApplicationCommunicator(application, scope)
        await communicator.send_input({"type": "websocket.connect"})
        return cls(communicator, await communicator.receive_output(5))

    @property
    def opened(self) -> bool:
        return bool(self.answer["type"] == "websocket.accept")

    async def send(self, **event: Any) -> None:
        await self.send_text(json.dumps(event))

    async def send_text(self, text: str) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "bytes": data})

    async def receive(self) -> Event:
        """The next event, but for those that tell who is there."""
        while (event := await self.receive_any())["type"] == "presence":
            pass
        return event

    async def receive_any(self) -> Event:
        message = await self.communicator.receive_output(5)
        assert message["type"] == "websocket.send", message
        event: Event = json.loads(message["text"])
        return event

    async def sees(self, *users: str) -> bool:
        """Wait until exactly these users are there."""
        event: Event = {}
        while [user["user"] for user in event.get("users", [])] != sorted(users):
            event = await self.receive_any()
        return bool(event["count"] == len(users))

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
            message = await self.communicator.receive_output(5)
            if message["type"] == "websocket.close":
                code: int = message["code"]
                return code

    async def leave(self) -> None:
        await self.communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.communicator.wait(5)
