"""What is on its way to one client, in order, and never more than it can take."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from django.conf import settings

from realtime import metrics
from realtime.asgi import Message, Send, start
from realtime.protocol import Close

logger = logging.getLogger(__name__)


class Outbox:
    """Sends to one client without making anybody else wait for it.

    A message goes out at once unless the server holds it back, because the client does not read;
    then up to `REALTIME_MAX_OUTBOX` messages wait. One more, and the client is closed with 4408
    and `give_up` is called: it comes back and fetches what it missed.

    What comes after a close is dropped, since servers raise there, each another exception, as
    uvicorn does (ClientDisconnected, an OSError) when the client went away unannounced.
    """

    __slots__ = ("closed", "give_up", "send_to_server", "waiting", "writer")

    def __init__(self, send: Send, give_up: Callable[[], None]) -> None:
        self.send_to_server = send
        self.give_up = give_up
        self.waiting: deque[Message] | None = None
        self.writer: asyncio.Task[None] | None = None
        self.closed = False

    def put(self, message: Message) -> None:
        """Send a message as soon as the client takes it; to be called in the event loop."""
        if self.closed:
            return
        if message["type"] == "websocket.close":
            self.closed = True
        if self.waiting is None:
            writer = start(self.write(message))
            if not writer.done():
                self.waiting, self.writer = deque(), writer
        elif len(self.waiting) < settings.REALTIME_MAX_OUTBOX:
            self.waiting.append(message)
        else:
            self.drop()

    async def send(self, message: Message) -> None:
        """Send a message, and wait until the client took it and all before it."""
        self.put(message)
        await self.flush()

    async def flush(self) -> None:
        """Wait until nothing waits."""
        if self.writer is not None:
            await asyncio.wait({self.writer})

    async def write(self, message: Message) -> None:
        try:
            await self.send_to_server(message)
            while self.waiting:
                await self.send_to_server(self.waiting.popleft())
        except OSError:
            self.closed = True
        except Exception:
            self.closed = True
            logger.exception("The server did not take a message")
        finally:
            self.waiting = self.writer = None

    def drop(self) -> None:
        """Close with 4408 instead of what waits."""
        metrics.OUTBOX_DROPS.inc()
        if self.waiting is not None:
            self.waiting.clear()
        self.put({"type": "websocket.close", "code": Close.TOO_SLOW})
        self.give_up()
