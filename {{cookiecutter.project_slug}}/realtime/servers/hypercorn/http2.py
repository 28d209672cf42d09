"""HTTP/2 of hypercorn, with limits on every frame and streams that do not block each other."""

import asyncio
import contextlib
from typing import Any

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
from hypercorn.events import Closed, Updated
from hypercorn.protocol.h2 import H2Protocol

from realtime.conf import settings
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
            if self.is_hidden(event) and self.limit.floods():
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

    async def _send_data(self, stream_id: int) -> None:
        window = self.connection.outbound_flow_control_window
        await super()._send_data(stream_id)
        if self.connection.outbound_flow_control_window < window:
            self.expected_updates += 2
            if stream_id in self.sending:
                self.sending[stream_id].reschedule(deadline())

    async def stream_send(self, event: Any) -> None:
        """Send a part of an answer. Reset the stream if the client does not read it for long."""
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
        """Acknowledge data for a stream that the server has ended, and reset it."""
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
    """Return whether a request is an ordinary one or opens a WebSocket (RFC 8441)."""
    method = fields[b":method"] != b"CONNECT" or fields.get(b":protocol") == b"websocket"
    return method and fields.get(b":path", b"\xff").isascii()
