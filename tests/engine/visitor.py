"""A client of an ASGI application in this process."""

import json

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator

from engine.asgi import application
from engine.people import headers_for


class Visitor:
    """A socket that sends and receives events. `answer` is the server's answer to the handshake.

    Channels' own communicator keeps database connections from being closed.
    """

    def __init__(self, communicator, answer):
        self.communicator = communicator
        self.answer = answer

    @classmethod
    async def arrive(cls, path, name, query="", headers=(), extensions=None, inner=application):
        """Connect as the user of that name, or without a sign-in if the name is None."""
        credentials = await sync_to_async(headers_for)(name) if name else []
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": query.encode(),
            "headers": [*credentials, *headers],
            "subprotocols": [],
            "extensions": extensions or {},
        }
        communicator = ApplicationCommunicator(inner, scope)
        await communicator.send_input({"type": "websocket.connect"})
        return cls(communicator, await communicator.receive_output(5))

    @property
    def opened(self):
        return self.answer["type"] == "websocket.accept"

    async def send(self, **event):
        await self.send_text(json.dumps(event))

    async def send_text(self, text):
        await self.communicator.send_input({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data):
        await self.communicator.send_input({"type": "websocket.receive", "bytes": data})

    async def receive(self):
        """Return the next event that is not about presence."""
        while (event := await self.receive_any())["type"] == "presence":
            pass
        return event

    async def receive_any(self):
        message = await self.communicator.receive_output(5)
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def receive_until(self, kind):
        """Return the events up to the first of that type."""
        events = [await self.receive()]
        while events[-1]["type"] != kind:
            events.append(await self.receive())
        return events

    async def sees(self, *names):
        """Wait until exactly these users are present. Return whether the event is whole."""
        event = {}
        while event.get("users") != sorted(names):
            event = await self.receive_any()
        return event == {"type": "presence", "users": sorted(names), "count": len(names)}

    async def receives_nothing(self):
        """Return whether the answer to a ping is the next event."""
        await self.send(type="ping")
        return await self.receive() == {"type": "pong"}

    def stop_reading(self, capacity=1):
        """Make the server wait once this many messages are unread."""
        self.communicator.output_queue._maxsize = capacity

    async def close_code(self):
        """Return the code of the close that follows, whatever comes before it."""
        while True:
            message = await self.communicator.receive_output(5)
            if message["type"] == "websocket.close":
                return message["code"]

    async def leave(self):
        await self.communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.communicator.wait(5)
