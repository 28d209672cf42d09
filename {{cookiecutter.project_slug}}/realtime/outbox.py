"""Queue of messages to one client, limited in number and bytes."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from realtime import metrics
from realtime.conf import settings
from realtime.protocol import Close, frame_of, size_of
from realtime.tasks import TURN
from realtime.types import Message, Send, Write, start

logger = logging.getLogger(__name__)


class Disconnected(OSError):
    """Error of a send after the end of the connection, which ends a consumer that only sends."""


class Borrower(Protocol):
    """Membership that writes to the transport, too."""

    def give_back(self) -> None: ...


class Outbox:
    """Messages on their way to one client, so that a slow client does not delay others.

    A message is sent at once unless the server holds it back, because the client does not read.
    Then up to `REALTIME_MAX_OUTBOX` messages of `REALTIME_MAX_OUTBOX_BYTES` wait. Above that the
    client is closed with 4408 and `end` is called. It reconnects and gets what it missed.

    Messages after a close are dropped, because servers raise there, each another exception. Once
    the connection has `ended`, `send` raises Disconnected, like uvicorn's own ClientDisconnected.
    """

    __slots__ = (
        "accepted",
        "borrowers",
        "bytes",
        "closed",
        "count",
        "end",
        "ended",
        "lend",
        "loop",
        "send_to_server",
        "sends",
        "waiting",
        "write_frame",
        "writer",
    )

    def __init__(self, send: Send, end: Callable[[int], None]) -> None:
        self.send_to_server = send
        # A server may lend its transport. Middleware around `send` hides this.
        self.lend: Callable[[Callable[[], None]], Write | None] | None = getattr(
            getattr(send, "__self__", None), "lend", None
        )
        self.write_frame: Write | None = None  # borrowed
        self.borrowers: tuple[Borrower, ...] = ()
        self.end = end
        self.loop = asyncio.get_running_loop()
        self.waiting: list[Message] = []  # an empty deque takes 760 bytes
        self.count = self.bytes = 0  # of waiting messages, also those held back by memberships
        self.writer: asyncio.Task[None] | None = None
        self.sends = 0
        self.accepted = self.closed = self.ended = False

    def deliver(self, message: Message) -> None:
        """Send a message as soon as the client takes it. Call in the event loop only."""
        if self.closed:
            return
        if self.writer is None:
            text = message.get("text")
            if text is not None and self.borrow() and self.write_directly(frame_of(text)):
                return
            # Timeouts and cancel scopes in middleware around `send` need a task. An eager one is
            # done here and now, unless the server holds the message back.
            sending = asyncio.Task(self.send_to_server(message), loop=self.loop, eager_start=True)
            if not sending.done():
                self.give_back()
                self.writer = start(self.write(sending))
            else:
                try:
                    sending.result()
                except (Exception, asyncio.CancelledError) as error:
                    self.fail(error)
        elif self.reserve(message):
            self.waiting.append(message)

    def borrow(self) -> Write | None:
        """Return the `write` of the server's transport, None if a frame would have to wait."""
        if self.write_frame is None and self.lend is not None and self.writer is None:
            self.write_frame = None if self.closed else self.lend(self.give_back)
        return self.write_frame

    def give_back(self) -> None:
        """Stop writing to the transport."""
        self.write_frame = None
        for borrower in self.borrowers:
            borrower.give_back()

    def write_directly(self, frame: bytes) -> bool:
        """Write a frame to the borrowed transport. Return False if it has just ended."""
        assert self.write_frame is not None
        try:
            self.write_frame(frame)
        except Exception:
            self.give_back()
            return False
        return True

    def reserve(self, message: Message) -> bool:
        """Count one more waiting message. Above the limits, close the client and return False."""
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
        """Discount a waiting message."""
        self.count -= 1
        self.bytes -= size_of_message(message)

    def reply(self, text: str) -> None:
        """Send a text to this client alone."""
        metrics.SENT.inc()
        self.deliver({"type": "websocket.send", "text": text})

    def close(self, code: int) -> None:
        """Close after the waiting messages.

        The connection is accepted first: a close before the accept would be an HTTP 403, and the
        client would never see the code (ASGI specification, WebSocket, "Close - send event").
        """
        if not self.accepted:
            self.deliver({"type": "websocket.accept"})
        self.deliver({"type": "websocket.close", "code": code})
        self.stop()

    def stop(self) -> None:
        """Drop what is delivered from now on."""
        self.closed = True
        self.give_back()

    def write_together(self, texts: Iterable[str]) -> bool:
        """Send texts in one write. Return False if they would have to wait."""
        frames = [frame_of(text) for text in texts] if self.borrow() else []
        if not frames or not self.write_directly(b"".join(frames)):
            return False
        metrics.SENT.inc(len(frames))
        return True

    async def send(self, message: Message) -> None:
        """Send a message. Wait until the client has taken it and all before it."""
        self.post(message)
        await self.wait_until_empty()
        if self.ended:
            raise Disconnected
        self.sends += 1
        if self.closed or self.sends % TURN == 0:
            await asyncio.sleep(0)  # nothing else yields to the other connections

    def post(self, message: Message) -> None:
        """Send a message of the consumer."""
        self.deliver(message)
        match message["type"]:
            case "websocket.send":
                metrics.SENT.inc()
            case "websocket.accept":
                self.accepted = True
            case "websocket.close":
                self.closed = True

    async def wait_until_empty(self) -> None:
        if self.writer is not None:
            await asyncio.wait({self.writer})

    async def write(self, sending: asyncio.Task[None]) -> None:
        """Send the messages that wait behind one that the server holds back."""
        try:
            await sending
            while self.waiting:
                messages, self.waiting = self.waiting, []
                for message in messages:
                    self.release(message)
                    await self.send_to_server(message)
        except Exception as error:
            self.fail(error)
        self.writer = None

    def fail(self, error: BaseException) -> None:
        self.stop()
        self.ended = True
        self.waiting.clear()
        if not isinstance(error, OSError):
            logger.error("The server did not accept a message", exc_info=error)

    def drop(self) -> None:
        """Close with 4408 instead of sending what waits."""
        metrics.OUTBOX_DROPS.inc()
        if self.writer is not None:
            self.writer.cancel()
        self.writer = None
        self.count = self.bytes = 0
        self.waiting.clear()
        self.close(Close.TOO_SLOW)
        self.end(Close.TOO_SLOW)


def size_of_message(message: Message) -> int:
    text = message.get("text")
    return len(message.get("bytes") or b"") if text is None else size_of(text)
