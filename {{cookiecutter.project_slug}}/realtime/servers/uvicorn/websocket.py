"""WebSocket of uvicorn, with limits on every frame and direct writes."""

from collections.abc import Callable
from encodings.utf_8 import IncrementalDecoder
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets import websockets_sansio_impl
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from realtime.protocol import Close
from realtime.rate_limit import HiddenFrames
from realtime.servers.direct import DirectWrites
from realtime.servers.message_queue import MessageQueue
from realtime.types import Write

BAD_REQUEST = STATUS_LINE[400] + b"content-length: 0\r\nconnection: close\r\n\r\n"


class Connection(DirectWrites, ServerProtocol):
    """Frames of a WebSocket, each checked before it has an effect."""

    # Beside the dict: above 30 attributes, Python gives each object a larger dict of its own.
    __slots__ = ("check", "decoder", "give_back", "open_write")

    check: Callable[[Frame], None]

    def __init__(self, *args: Any, **options: Any) -> None:
        self.give_back = None
        super().__init__(*args, **options)
        self.debug = False  # would log cookies, tickets and texts
        self.decoder: IncrementalDecoder | None = None

    def recv_frame(self, frame: Frame) -> None:
        self.check(frame)
        if frame.opcode is Opcode.TEXT:
            self.decoder = IncrementalDecoder()
        elif frame.opcode is Opcode.BINARY:
            self.decoder = None
        elif frame.opcode is Opcode.CLOSE:
            self.current_size = None  # may interrupt a message (RFC 6455, section 5.4)
        if self.decoder and frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self.decoder.decode(frame.data, frame.fin)  # invalid UTF-8 closes with 1007
        super().recv_frame(frame)


# uvicorn has no setting for this class.
patched: Any = websockets_sansio_impl
patched.ServerProtocol = Connection


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket that counts frames without a message, and lends its transport."""

    conn: Connection

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.queue: Any = MessageQueue()
        self.conn.check = self.check
        self.conn.open_write = self.open_write
        self.lend = self.conn.lend
        self.hidden = HiddenFrames()

    # Received

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is not None:
            return  # closed already
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(BAD_REQUEST)
            self.transport.close()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions: Any = self.scope["extensions"]
            extensions["realtime.frames"] = self.hidden

    def check(self, frame: Frame) -> None:
        """Count a frame that the consumer does not see. Close if there are too many of them."""
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE):
            self.hidden.fragments = 0
        elif code := self.hidden.refuse(fragment=frame.opcode is Opcode.CONT):
            self.conn.fail(code)
            raise ProtocolError("too many frames")

    def handle_parser_exception(self) -> None:
        """Close with the code of the parser, which reads no more.

        The client has a second to close its side. Unread data would reset the connection, and the
        client could lose the code.
        """
        close = self.conn.close_sent
        assert close is not None
        message: Any = {"type": "websocket.disconnect", "code": close.code, "reason": close.reason}
        self.queue.put_nowait(message)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(1, self.transport.close)
        if close.code == Close.FLOODING:
            self.transport.pause_reading()
        elif self.transport.can_write_eof():
            self.transport.write_eof()

    def shutdown(self) -> None:
        super().shutdown()
        # A client that does not read would delay the end of the process.
        self.loop.call_later(1, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self.read_paused = False  # uvicorn would resume a closed transport
        self.conn.state = State.CLOSED
        super().connection_lost(exc)

    # Sent

    def open_write(self) -> Write | None:
        if self.conn.state is not State.OPEN or not self.writable.is_set():
            return None
        return None if self.transport.is_closing() else self.transport.write

    def pause_writing(self) -> None:
        super().pause_writing()
        self.conn.take_back()

    async def send(self, message: Any) -> None:
        await self.writable.wait()
        if self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        if message.get("code") == Close.FLOODING:
            self.close_timeout = 1
        await super().send(message)
        if message["type"] == "websocket.accept":
            # The scope has its own copy of them.
            self.request.headers.clear()
            self.response.headers.clear()
        if message.get("code") == Close.FLOODING:
            self.transport.pause_reading()  # do not parse the rest of the flood
