"""What is on its way to one client, in order, and never more than it can take."""

import asyncio
import logging
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from django.conf import settings

from realtime import metrics
from realtime.asgi import Message, Send, start
from realtime.protocol import Close

logger = logging.getLogger(__name__)


@types.coroutine
def go_on(begun: Coroutine[Any, Any, None], future: Any) -> Generator[Any, Any, None]:
    """Await a coroutine that was begun by hand and waits for a future."""
    try:
        yield future
    except BaseException:
        begun.close()
        raise
    yield from begun


class Outbox:
    """Sends to one client without making anybody else wait for it.

    A message goes out at once unless the server holds it back, because the client does not read;
    then up to `REALTIME_MAX_OUTBOX` messages wait. One more, and the client is closed with 4408
    and `give_up` is called: it comes back and fetches what it missed.

    What comes after a close is dropped, since servers raise there, each another exception, as
    uvicorn does (ClientDisconnected, an OSError) when the client went away unannounced.
    """

    __slots__ = ("accepted", "closed", "give_up", "send_to_server", "waiting", "writer")

    def __init__(self, send: Send, give_up: Callable[[], None]) -> None:
        self.send_to_server = send
        self.give_up = give_up
        self.waiting: deque[Message] | None = None
        self.writer: asyncio.Task[None] | None = None
        self.accepted = self.closed = False

    def put(self, message: Message) -> None:
        """Send a message as soon as the client takes it; to be called in the event loop."""
        if self.closed:
            return
        if self.waiting is None:
            # Done here and now, without a task, unless the server holds it back.
            sending = self.send_to_server(message)
            try:
                future = sending.send(None)
            except StopIteration:
                return
            except Exception as error:
                return self.fail(error)
            self.waiting = deque()
            self.writer = start(self.write(go_on(sending, future)))
        elif len(self.waiting) < settings.REALTIME_MAX_OUTBOX:
            self.waiting.append(message)
        else:
            self.drop()

    def reply(self, text: str) -> None:
        """Send a text to this client alone."""
        metrics.SENT.inc()
        self.put({"type": "websocket.send", "text": text})

    def close(self, code: int) -> None:
        """Close after what waits.

        A connection is accepted first: a close before that would be an HTTP 403, and the client
        would never see the code (ASGI specification, WebSocket, "Close - send event").
        """
        if not self.accepted:
            self.put({"type": "websocket.accept"})
        self.put({"type": "websocket.close", "code": code})
        self.closed = True

    async def send(self, message: Message) -> None:
        """Send a message, and wait until the client took it and all before it."""
        self.put(message)
        match message["type"]:
            case "websocket.send":
                metrics.SENT.inc()
            case "websocket.accept":
                self.accepted = True
            case "websocket.close":
                self.closed = True
        await self.flush()

    async def flush(self) -> None:
        """Wait until nothing waits."""
        if self.writer is not None:
            await asyncio.wait({self.writer})

    async def write(self, sending: Awaitable[None]) -> None:
        """Send what waits behind a message that the server holds back."""
        try:
            await sending
            while self.waiting:
                await self.send_to_server(self.waiting.popleft())
        except Exception as error:
            self.fail(error)
        self.waiting = self.writer = None

    def fail(self, error: BaseException) -> None:
        self.closed = True
        if not isinstance(error, OSError):
            logger.error("The server did not take a message", exc_info=error)

    def drop(self) -> None:
        """Close with 4408 instead of what is under way or waits."""
        metrics.OUTBOX_DROPS.inc()
        if self.writer is not None:
            self.writer.cancel()
        self.waiting = self.writer = None
        self.close(Close.TOO_SLOW)
        self.give_up()
