"""Hypercorn's connections, with limits on what one client can send, hold and delay."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import h11
import hypercorn.asyncio.run
import hypercorn.asyncio.tcp_server
import hypercorn.protocol.h2
import hypercorn.protocol.h11
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from hypercorn.asyncio.task_group import TaskGroup, _handle
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import EndBody, EndData, Event, Request, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from realtime.conf import settings
from realtime.protocol import Close
from realtime.rate_limit import FrameLimit

# Frames of HTTP/2 that carry no part of a request.
HIDDEN = (
    DataReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    SettingsAcknowledged,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)
LINGER_SECONDS = 3  # abort a closed connection whose client has not left after this


class Inbox:
    """Queue of an application's messages. A full one delays the client, but not the disconnect.

    Hypercorn's own queue blocks the disconnect too. The connection of a client that filled it is
    then never closed.
    """

    def __init__(self, size: int) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.size = size
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.disconnected = False

    async def get(self) -> Any:
        message = await self.messages.get()
        if self.messages.qsize() < self.size:
            self.has_room.set()
        return message

    async def put(self, message: Any) -> None:
        if self.disconnected:
            return
        self.messages.put_nowait(message)
        if message["type"].endswith(".disconnect"):
            self.disconnected = True
            self.has_room.set()
        elif self.messages.qsize() >= self.size:
            self.has_room.clear()
        await self.has_room.wait()


class Tasks(TaskGroup):
    """Tasks of one connection."""

    async def spawn_app(
        self, app: Any, config: Any, scope: Any, send: Any
    ) -> Callable[[Any], Awaitable[None]]:
        inbox = Inbox(config.max_app_queue_size)
        spawn_sync = partial(self._loop.run_in_executor, None)
        self.spawn(_handle, app, config, scope, inbox.get, send, spawn_sync, None)
        return inbox.put


class Connection(TCPServer):
    """TCP connection that ends in bounded time, without a reset before the last bytes."""

    aborting: asyncio.TimerHandle | None = None  # while closing

    async def run(self) -> None:
        await super().run()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
        if self.aborting is not None:
            self.aborting.cancel()

    async def _read_data(self) -> None:
        while not self.reader.at_eof():
            try:
                data = await self.reader.read(MAX_RECV)
            except OSError:
                break
            if self.aborting is None:
                await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())
        # The application may need longer, but the socket does not wait for it.
        await self._close()
        self.writer.close()

    async def _close(self) -> None:
        """Send what is buffered and close. Until then, discard what arrives.

        If unread data were left, the kernel would reset the connection, and the client would
        lose the close frame (RFC 1122, section 4.2.2.13).
        """
        if self.aborting is None:
            abort = self.writer.transport.abort
            self.aborting = self.loop.call_later(LINGER_SECONDS, abort)
            with contextlib.suppress(OSError, RuntimeError):
                if self.writer.can_write_eof():
                    self.writer.write_eof()
                else:
                    self.writer.close()  # TLS discards by itself
            await self.idle_task.stop()

    async def _initiate_server_close(self) -> None:
        await self.protocol.handle(Closed())
        await self._close()


class Http1(H11Protocol):
    """HTTP/1.1 connection with limits on each head, which never becomes HTTP/2."""

    deadline: asyncio.TimerHandle | None = None  # of the head that is arriving

    async def handle(self, event: Any) -> None:
        if isinstance(event, Closed):
            self.head_ends()
        elif event.data and self.is_idle():
            event = RawData(event.data.lstrip(b"\r\n"))  # RFC 9112, section 2.2
            if not event.data:
                return
            await self.send(Updated(idle=False))
            seconds, loop = settings.SERVER_HEAD_SECONDS, asyncio.get_running_loop()
            self.deadline = loop.call_later(seconds, self.task_group.spawn, self.refuse, 408)
        await super().handle(event)

    def is_idle(self) -> bool:
        return (self.stream, self.deadline, self.connection.trailing_data[0]) == (None, None, b"")

    def head_ends(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore `Upgrade: h2c`: through a proxy it would reach every path unchecked."""

    async def _create_stream(self, request: h11.Request) -> None:
        self.head_ends()
        fields = request.headers.raw_items()
        size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in fields)
        if request.http_version == b"2.0":
            await self.refuse(505)
        elif size > settings.SERVER_MAX_HEAD_BYTES:
            await self.refuse(431)
        elif any(
            name == b"content-length" and int(value) > settings.SERVER_MAX_BODY_BYTES
            for name, value in request.headers
        ):
            await self.refuse(413)  # before h11 asks for the body with 100
        else:
            await super()._create_stream(request)

    async def refuse(self, status: int) -> None:
        """Answer with a status and close, unless a response has begun."""
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(status)
        await self.send(Closed())


class Http2(H2Protocol):
    """HTTP/2 connection whose streams neither wait for each other nor end with each other."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.limit = FrameLimit()
        self.expected_updates = 0  # a client may send two for each frame of data
        self.received: dict[int, asyncio.Queue[Any]] = {}  # by stream
        self.sending: dict[int, asyncio.Timeout] = {}  # by stream

    async def initiate(self, *args: Any) -> None:
        await super().initiate(*args)
        # A stream that is not read may fill its own window, but not the connection's.
        size = self.connection.local_settings.initial_window_size
        self.connection.increment_flow_control_window(size * self.config.h2_max_concurrent_streams)
        await self._flush()

    async def handle(self, event: Any) -> None:
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in self.stream_buffers.values():
                await buffer.close()  # an application may wait for room in it

    async def _handle_events(self, events: list[Any]) -> None:
        for event in events:
            if self.is_hidden(event) and self.is_flooded():
                self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                await self._flush()
                await self.send(Closed())
                return
            if isinstance(event, RequestReceived) and not is_supported(dict(event.headers)):
                self.connection.reset_stream(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
            elif isinstance(event, DataReceived | StreamEnded):
                if event.stream_id in self.received:
                    self.received[event.stream_id].put_nowait(event)
                else:
                    self.discard(event)
            elif not isinstance(event, PriorityUpdated):  # deprecated (RFC 9113, section 5.3.2)
                await super()._handle_events([event])
            if isinstance(event, StreamReset):
                await self.send(Updated(idle=self.idle))
        await self._flush()

    def is_hidden(self, event: Any) -> bool:
        if isinstance(event, WindowUpdated) and self.expected_updates > 0:
            self.expected_updates -= 1
            return False
        return isinstance(event, HIDDEN) and not getattr(event, "data", b"")

    def is_flooded(self) -> bool:
        return not self.limit.allows() and self.limit.refused >= settings.REALTIME_MAX_REFUSED

    async def _send_data(self, stream_id: int) -> None:
        window = self.connection.outbound_flow_control_window
        await super()._send_data(stream_id)
        if self.connection.outbound_flow_control_window < window:
            self.expected_updates += 2
            if stream_id in self.sending:
                self.sending[stream_id].reschedule(deadline())

    async def stream_send(self, event: Any) -> None:
        """Send a part of an answer. Reset a stream of which the client takes nothing for long."""
        try:
            async with asyncio.timeout_at(deadline()) as timeout:
                self.sending[event.stream_id] = timeout
                try:
                    await super().stream_send(event)
                finally:
                    del self.sending[event.stream_id]
        except TimeoutError:
            with contextlib.suppress(ProtocolError):
                self.connection.reset_stream(event.stream_id, ErrorCodes.CANCEL)
            if buffer := self.stream_buffers.get(event.stream_id):
                await buffer.close()
            await self._close_stream(event.stream_id)
            await self._flush()

    def discard(self, event: DataReceived | StreamEnded) -> None:
        """Stop a client that sends on a stream of which the server has had enough."""
        with contextlib.suppress(ProtocolError):
            if isinstance(event, DataReceived):
                size = event.flow_controlled_length or 0
                self.connection.acknowledge_received_data(size, event.stream_id)
                if event.stream_id not in self.stream_buffers:
                    self.connection.reset_stream(event.stream_id, ErrorCodes.NO_ERROR)

    async def _create_stream(self, request: RequestReceived) -> None:
        self.received[request.stream_id] = asyncio.Queue()
        self.task_group.spawn(self.feed, request.stream_id, self.received[request.stream_id])
        await super()._create_stream(request)

    async def feed(self, stream_id: int, received: asyncio.Queue[Any]) -> None:
        """Hand a stream what it received. Its window bounds what waits."""
        while event := await received.get():
            if stream_id in self.streams:
                with contextlib.suppress(ProtocolError):
                    await super()._handle_events([event])
            else:
                self.discard(event)

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        if stream_id in self.received:
            self.received.pop(stream_id).put_nowait(None)
        buffer = self.stream_buffers.get(stream_id)
        if buffer is not None and not buffer._complete and not self.closed:
            with contextlib.suppress(ProtocolError):
                self.connection.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            await buffer.close()
            await self._window_updated(stream_id)  # wakes the task that removes it
            await self._flush()


def deadline() -> float:
    return asyncio.get_running_loop().time() + settings.SERVER_BODY_SECONDS


def is_supported(fields: dict[bytes, bytes]) -> bool:
    """Whether a request is an ordinary one or opens a WebSocket (RFC 8441)."""
    method = fields[b":method"] != b"CONNECT" or fields.get(b":protocol") == b"websocket"
    return method and fields.get(b":path", b"\xff").isascii()


class Socket(WSStream):
    """WebSocket that counts every frame, misses no pong, and stops reading once it is closed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.frames = {"limit": FrameLimit()}
        self.size = self.fragments = 0  # of the message so far
        self.pong = asyncio.Event()
        self.heartbeat: asyncio.Task[None] | None = None
        self.busy = False  # while the application is behind
        self.left = False
        self.close_code = int(CloseReason.ABNORMAL_CLOSURE)

    async def handle(self, event: Event) -> None:
        if isinstance(event, StreamClosed):
            await self.leave()
        elif isinstance(event, EndBody):  # the client ended its stream of HTTP/2
            await self.send(StreamClosed(self.stream_id))
        elif isinstance(event, Request):
            await super().handle(event)
            # The application starts in the next iteration of the loop.
            self.scope["extensions"]["realtime.frames"] = self.frames
        elif self.state in {ASGIWebsocketState.HANDSHAKE, ASGIWebsocketState.CONNECTED}:
            await super().handle(event)
        if self.closed and not self.left:  # refused
            await self.send(StreamClosed(self.stream_id))

    async def leave(self) -> None:
        """Stop the heartbeat, and send the application its disconnect."""
        self.closed = self.left = True
        if self.heartbeat is not None:
            self.heartbeat.cancel()
        if self.app_put is not None:
            await self.app_put({"type": "websocket.disconnect", "code": self.close_code})

    async def _accept(self, message: Any) -> None:
        # A few bytes of a compressed message can inflate to any size.
        self.handshake.extensions = None
        await super()._accept(message)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, CloseConnection):
                await self.answer_close(event)
            elif isinstance(event, Message):
                await self.take(event)
            elif isinstance(event, Pong):
                self.pong.set()
                await self.count()
            elif isinstance(event, Ping) and await self.count():
                await self._send_wsproto_event(event.response())
            if self.state is not ASGIWebsocketState.CONNECTED:
                return

    async def take(self, event: Message[Any]) -> None:
        """Hand a complete message to the application, and close with 1009 if it is too long."""
        data = event.data.encode() if isinstance(event, TextMessage) else event.data
        self.size += len(data)
        if self.size > self.config.websocket_max_message_size:
            await self.end(CloseReason.MESSAGE_TOO_BIG)
            return
        self.buffer.extend(event)
        if event.message_finished:
            self.busy = True
            await self.app_put(self.buffer.to_message())  # type: ignore[misc]
            self.busy = False
            self.buffer.clear()
            self.size = self.fragments = 0
        elif event.frame_finished:
            self.fragments += 1
            if self.fragments > settings.REALTIME_MAX_FRAGMENTS:
                await self.end(CloseReason.MESSAGE_TOO_BIG)
            else:
                await self.count()

    async def count(self) -> bool:
        """Count a frame that the application never sees, and close with 4429 above the limit."""
        limit = self.frames["limit"]
        allowed = limit.allows()
        if limit.refused >= settings.REALTIME_MAX_REFUSED:
            await self.end(Close.FLOODING)
        return allowed

    async def answer_close(self, event: CloseConnection) -> None:
        if self.connection.state is not ConnectionState.REMOTE_CLOSING:
            await self.end(event.code, event.reason)  # an invalid frame
        else:
            self.state = ASGIWebsocketState.CLOSED
            self.close_code = int(event.code)
            await self._send_wsproto_event(event.response())
            await self.finish()

    async def app_send(self, message: Any) -> None:
        connected = self.state is ASGIWebsocketState.CONNECTED and not self.closed
        if connected and message is not None and message["type"] == "websocket.close":
            code = message.get("code", CloseReason.NORMAL_CLOSURE)
            await self.end(code, message.get("reason"))
        elif message is None or self.state is not ASGIWebsocketState.CLOSED:
            await super().app_send(message)

    async def end(self, code: int, reason: str | None = None) -> None:
        """Close with a code, without waiting for the application or the client."""
        self.state = ASGIWebsocketState.CLOSED
        self.close_code = int(code)
        await self._send_wsproto_event(CloseConnection(code=code, reason=reason))
        await self.finish()

    async def finish(self) -> None:
        await self.send(EndData(self.stream_id))
        await self.send(StreamClosed(self.stream_id))

    async def _send_pings(self) -> None:
        """Drop a client that does not answer a ping before the next one is due."""
        self.heartbeat = asyncio.current_task()
        interval: Any = self.config.websocket_ping_interval
        while not self.closed:
            await asyncio.sleep(interval)
            self.pong.clear()
            try:
                async with asyncio.timeout(interval):
                    await self._send_wsproto_event(Ping())
                    await self.pong.wait()
            except TimeoutError:
                if not self.busy:  # the pong may wait behind other frames
                    await self.send(StreamClosed(self.stream_id))
                    return


def install() -> None:
    """Make hypercorn use these classes, which it names itself and takes from no setting."""
    patched: Any = hypercorn
    patched.asyncio.run.TCPServer = Connection
    patched.asyncio.tcp_server.TaskGroup = Tasks
    patched.protocol.H11Protocol = Http1
    patched.protocol.H2Protocol = Http2
    patched.protocol.h11.WSStream = patched.protocol.h2.WSStream = Socket
