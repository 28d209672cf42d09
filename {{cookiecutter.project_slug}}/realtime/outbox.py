"""What is on its way to one client, in order, and never more than it can take."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from realtime import metrics
from realtime.conf import settings
from realtime.protocol import Close, size_of
from realtime.types import Message, Send, start

logger = logging.getLogger(__name__)


class Outbox:
    """Sends to one client without making anybody else wait for it.

    A message goes out at once unless the server holds it back, because the client does not read.
    Then up to `REALTIME_MAX_OUTBOX` messages of `REALTIME_MAX_OUTBOX_BYTES` wait. Above that the
    client is closed with 4408 and `give_up` is called: it reconnects and gets what it missed.

    Messages after a close are dropped, since servers raise there, each another exception, as
    uvicorn does (ClientDisconnected, an OSError) when the client went away unannounced.
    """

    __slots__ = (
        "accepted",
        "bytes",
        "closed",
        "count",
        "give_up",
        "loop",
        "send_to_server",
        "waiting",
        "write_text",
        "writer",
    )

    def __init__(self, send: Send, give_up: Callable[[], None]) -> None:
        self.send_to_server = send
        # A server may offer to write a text without a task. Middleware around `send` hides that.
        self.write_text: Callable[[str], bool] | None = getattr(
            getattr(send, "__self__", None), "write_text", None
        )
        self.give_up = give_up
        self.loop = asyncio.get_running_loop()
        self.waiting: deque[Message] = deque()
        self.count = self.bytes = 0  # of what waits, here and in memberships that are not live
        self.writer: asyncio.Task[None] | None = None
        self.accepted = self.closed = False

    def put(self, message: Message) -> None:
        """Send a message as soon as the client takes it. Call this in the event loop."""
        if self.closed:
            return
        if self.writer is None:
            text = message.get("text")
            if self.write_text is not None and text is not None and self.write_text(text):
                return
            # Timeouts and cancel scopes in middleware around `send` need a task. An eager one is
            # done here and now, unless the server holds the message back.
            sending = asyncio.Task(self.send_to_server(message), loop=self.loop, eager_start=True)
            if not sending.done():
                self.writer = start(self.write(sending))
            else:
                try:
                    sending.result()
                except (Exception, asyncio.CancelledError) as error:
                    self.fail(error)
        elif self.reserve(message):
            self.waiting.append(message)

    def reserve(self, message: Message) -> bool:
        """Count one more message that waits. Close the client instead if that is too much."""
        if self.closed:
            return False
        size = size_of_message(message)
        if self.count and (
            self.count >= settings.REALTIME_MAX_OUTBOX
            or self.bytes + size > settings.REALTIME_MAX_OUTBOX_BYTES
        ):
            self.drop()
            return False
        self.count += 1
        self.bytes += size
        return True

    def release(self, message: Message) -> None:
        """Discount a message that waited."""
        self.count -= 1
        self.bytes -= size_of_message(message)

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
        self.post(message)
        await self.flush()

    def post(self, message: Message) -> None:
        """Send a message of the consumer."""
        self.put(message)
        match message["type"]:
            case "websocket.send":
                metrics.SENT.inc()
            case "websocket.accept":
                self.accepted = True
            case "websocket.close":
                self.closed = True

    async def flush(self) -> None:
        """Wait until nothing waits."""
        if self.writer is not None:
            await asyncio.wait({self.writer})

    async def write(self, sending: asyncio.Task[None]) -> None:
        """Send what waits behind a message that the server holds back."""
        try:
            await sending
            while self.waiting:
                message = self.waiting.popleft()
                self.release(message)
                await self.send_to_server(message)
        except Exception as error:
            self.fail(error)
        self.writer = None

    def fail(self, error: BaseException) -> None:
        self.closed = True
        self.waiting.clear()
        if not isinstance(error, OSError):
            logger.error("The server did not take a message", exc_info=error)

    def drop(self) -> None:
        """Close with 4408 instead of what is under way or waits."""
        metrics.OUTBOX_DROPS.inc()
        if self.writer is not None:
            self.writer.cancel()
        self.writer = None
        self.count = self.bytes = 0
        self.waiting.clear()
        self.close(Close.TOO_SLOW)
        self.give_up()


def size_of_message(message: Message) -> int:
    text = message.get("text")
    return len(message.get("bytes") or b"") if text is None else size_of(text)
