"""What holds for every consumer, sync or async, however its connection ends."""

import asyncio
import logging
from typing import Any

from channels.consumer import AsyncConsumer

from realtime.asgi import Send
from realtime.protocol import Close

logger = logging.getLogger(__name__)


class Connection:
    """A `send` that may be called at any time: what comes after the end is dropped.

    Servers raise there, each another exception; uvicorn also raises ClientDisconnected (an
    OSError) when the client went away unannounced.
    """

    def __init__(self, send: Send) -> None:
        self.send_to_server = send
        self.closed = False

    async def send(self, message: Any) -> None:
        if self.closed:
            return
        self.closed = message["type"] == "websocket.close"
        try:
            await self.send_to_server(message)
        except OSError:
            self.closed = True


class Lifecycle(AsyncConsumer):
    """Leaves all groups and closes with a code of ours, also after an exception.

    Channels calls `disconnect()` only when the connection ended in good order.
    """

    groups: list[str]
    scope: Any

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        connection = Connection(send)
        try:
            await super().__call__(scope, receive, connection.send)
        except Exception:
            logger.exception("%s failed", type(self).__name__)
            await connection.send({"type": "websocket.close", "code": Close.INTERNAL_ERROR})
        finally:
            await asyncio.shield(self.leave_groups())

    async def leave_groups(self) -> None:
        while self.groups:
            try:
                await self.channel_layer.group_discard(self.groups.pop(), self.channel_name)
            except Exception:
                logger.exception("A group could not be left")
