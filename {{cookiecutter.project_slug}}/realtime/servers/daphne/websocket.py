"""WebSocket of daphne, with limits on every frame."""

from collections.abc import Callable
from typing import Any

from autobahn.websocket.types import ConnectionRequest
from daphne import ws_protocol
from daphne.server import reactor
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from realtime.protocol import Close
from realtime.rate_limit import HiddenFrames
from realtime.servers.direct import DirectWrites
from realtime.servers.gate import Gate
from realtime.servers.message_queue import MessageQueue
from realtime.types import Write

CONTINUATION, PING, PONG = 0, 9, 10  # opcodes (RFC 6455, section 5.2)
MAX_UNREAD = 16  # messages that wait for the application; stop reading above this


@implementer(IPushProducer)
class Flow:
    """Flow to a client. The gate is closed while the transport is full."""

    def __init__(self, on_full: Callable[[], None]) -> None:
        self.gate = Gate()
        self.on_full = on_full

    def pauseProducing(self) -> None:
        self.gate.close()
        self.on_full()

    def resumeProducing(self) -> None:
        self.gate.open()

    stopProducing = resumeProducing


class WebSocketProtocol(DirectWrites, ws_protocol.WebSocketProtocol):  # type: ignore[misc]
    """WebSocket that counts frames without a message, and stops reading when it is behind."""

    def onConnect(self, request: ConnectionRequest) -> object:
        self.hidden = HiddenFrames()
        self.flow = Flow(self.take_back)
        self.messages = MessageQueue()
        return super().onConnect(request)

    async def send(self, message: dict[str, Any]) -> None:
        await self.server.handle_reply(self, message)

    def onFrameBegin(self) -> None:
        super().onFrameBegin()
        opcode = self.current_frame.opcode
        if self.state != self.STATE_OPEN or opcode not in (CONTINUATION, PING, PONG):
            return
        if code := self.hidden.refuse(fragment=opcode == CONTINUATION):
            self._fail_connection(code, "too many frames")

    def onMessageEnd(self) -> None:
        self.hidden.fragments = 0
        super().onMessageEnd()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        super().onMessage(payload, isBinary)
        if self.application_queue.qsize() == MAX_UNREAD:
            self.transport.pauseProducing()
            self.resume_reading()

    def resume_reading(self) -> None:
        """Read from the client again when the application has caught up."""
        if self.application_queue.qsize() < MAX_UNREAD:
            self.transport.resumeProducing()
        elif self.state != self.STATE_CLOSED:
            reactor.callLater(0.01, self.resume_reading)

    def onClose(self, *arguments: Any) -> None:
        super().onClose(*arguments)
        if hasattr(self, "flow"):
            self.flow.resumeProducing()  # a handler may wait for the client to read

    def _fail_connection(self, *arguments: Any) -> None:
        super()._fail_connection(*arguments)
        self.discard()

    # Both return True to stop parsing. autobahn would take an invalid close frame for the answer to
    # its own, and drop the connection before that is sent.

    def _protocol_violation(self, reason: str) -> bool:
        super()._protocol_violation(reason)
        return True

    def _invalid_payload(self, reason: str) -> bool:
        super()._invalid_payload(reason)
        return True

    def open_write(self) -> Write | None:
        if self.state != self.STATE_OPEN or self.flow.gate.opening or self.send_queue:
            return None
        write: Write = self.transport.write
        return write

    def discard(self) -> None:
        """Discard what arrives until the connection ends, within two seconds.

        If the server closed at once, unread data would reset the connection, and the client could
        lose the close code.
        """
        self.data = b""
        self.dataReceived = lambda data: None

    def handle_reply(self, message: dict[str, Any]) -> None:
        text, data = message.get("text"), message.get("bytes")
        if message["type"] == "websocket.send" and not text and not data:
            self.sendMessage(b"", isBinary=text is None)  # daphne drops an empty one
        else:
            super().handle_reply(message)
        if message.get("code") == Close.FLOODING:
            self.discard()


class WebSocketFactory(ws_protocol.WebSocketFactory):  # type: ignore[misc]
    protocol = WebSocketProtocol
