"""Protocols of uvicorn with limits on what one client may cost."""

import asyncio
from collections.abc import Callable
from encodings.utf_8 import IncrementalDecoder
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets import websockets_sansio_impl
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from realtime.conf import settings
from realtime.protocol import Close
from realtime.rate_limit import FrameLimit

BAD_REQUEST = STATUS_LINE[400] + b"content-length: 0\r\nconnection: close\r\n\r\n"


class HTTPProtocol(HttpToolsProtocol):
    """Obey `SERVER_MAX_HEAD_BYTES`, `SERVER_HEAD_SECONDS` and `SERVER_IDLE_SECONDS`.

    `realtime.bodies` limits bodies.
    """

    deadline: asyncio.TimerHandle | None = None
    head_bytes = 0  # of the lines that are complete
    unparsed_bytes = 0  # since the start of the request or the last piece of its body
    new_bytes = 0  # of these, the ones that arrived last
    refusal = 400
    refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.limit_time(settings.SERVER_IDLE_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end_limit()
        super().connection_lost(exc)

    def limit_time(self, seconds: float, callback: Callable[[], None]) -> None:
        self.end_limit()
        self.deadline = self.loop.call_later(seconds, callback)

    def end_limit(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    # Size

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self.new_bytes = len(data)
        super().data_received(data)
        self.unparsed_bytes += self.new_bytes
        if self.unparsed_bytes > settings.SERVER_MAX_HEAD_BYTES:
            self.refuse(431)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self.count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self.count(len(name) + len(value))

    def count(self, size: int) -> None:
        self.head_bytes += size
        if self.head_bytes > settings.SERVER_MAX_HEAD_BYTES:
            self.refusal = 431
            raise ValueError  # stops the parser, which makes uvicorn answer

    def on_body(self, body: bytes) -> None:
        self.unparsed_bytes = self.new_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.unparsed_bytes = self.new_bytes = 0
        super().on_message_complete()

    # Time

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head_bytes = self.unparsed_bytes = 0
        self.limit_time(settings.SERVER_HEAD_SECONDS, self.head_expired)

    def head_expired(self) -> None:
        if self.responding():
            self.limit_time(settings.SERVER_HEAD_SECONDS, self.head_expired)
        else:
            self.refuse(408)

    def on_headers_complete(self) -> None:
        self.end_limit()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.responding() and self.deadline is None:
            self.limit_time(settings.SERVER_IDLE_SECONDS, self.transport.close)

    # Answers

    def responding(self) -> bool:
        """Tell whether the application has a request to answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        self.refuse(self.refusal)

    def refuse(self, status: int) -> None:
        """Answer without the application, then discard what still arrives.

        If the server closed at once, unread data would reset the connection, and the client could
        lose the answer (RFC 9112, section 9.6).
        """
        if self.refused:
            return
        if self.responding():
            return self.transport.close()
        self.refused = True
        lines = [name + b": " + value for name, value in self.server_state.default_headers]
        lines += [b"content-length: 0", b"connection: close", b"", b""]
        self.transport.write(STATUS_LINE[status] + b"\r\n".join(lines))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.limit_time(settings.SERVER_IDLE_SECONDS, self.transport.close)


class Connection(ServerProtocol):
    """Frames of a WebSocket, each checked before it has an effect."""

    check: Callable[[Frame], None]

    def __init__(self, *args: Any, **options: Any) -> None:
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


# uvicorn creates it, and takes its class from no setting.
patched: Any = websockets_sansio_impl
patched.ServerProtocol = Connection


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Count frames that never become messages. Build the frame of a broadcast once."""

    conn: Connection
    broadcast: tuple[str | None, bytes] = (None, b"")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn.check = self.check
        self.hidden: dict[str, Any] = {"limit": FrameLimit()}
        self.fragments = 0  # of the message that is arriving

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
            self.fragments = 0
            return
        if frame.opcode is Opcode.CONT:
            self.fragments += 1
            if self.fragments > settings.REALTIME_MAX_FRAGMENTS:
                self.conn.fail(CloseCode.MESSAGE_TOO_BIG)
                raise ProtocolError("too many fragments")
        limit = self.hidden["limit"]
        if not limit.allows() and limit.refused >= settings.REALTIME_MAX_REFUSED:
            self.conn.fail(Close.FLOODING)
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

    def connection_lost(self, exc: Exception | None) -> None:
        self.read_paused = False  # uvicorn would resume a closed transport
        self.conn.state = State.CLOSED
        super().connection_lost(exc)

    # Sent

    async def send(self, message: Any) -> None:
        text = message.get("text")
        if text is None or not self.write_text(text):
            await self.send_slowly(message)

    def write_text(self, text: str) -> bool:
        """Send a text without waiting. Return False if the client is behind or gone."""
        if self.conn.state is not State.OPEN or not self.writable.is_set():
            return False
        last, frame = WebSocketProtocol.broadcast
        if text is not last:
            frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
            WebSocketProtocol.broadcast = (text, frame)
        self.transport.write(frame)
        return True

    async def send_slowly(self, message: Any) -> None:
        await self.writable.wait()
        if self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        if message.get("code") == Close.FLOODING:
            self.close_timeout = 1
        await super().send(message)
        if message.get("code") == Close.FLOODING:
            self.transport.pause_reading()  # what else it sends is not worth parsing
