"""WebSocket of hypercorn, with limits on every frame and a timeout for pongs."""

import asyncio
from typing import Any

from hypercorn.protocol.events import EndBody, EndData, Event, Request, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from realtime.rate_limit import HiddenFrames
from realtime.servers.direct import DirectWrites
from realtime.servers.gate import Gate
from realtime.servers.hypercorn.http1 import Http1
from realtime.types import Write


class WebSocket(DirectWrites, WSStream):
    """WebSocket that counts every frame, expects pongs, and stops reading once it is closed."""

    # Beside the dict: above 30 attributes, Python gives each object a larger dict of its own.
    __slots__ = (
        "_state",
        "busy",
        "close_code",
        "frames",
        "give_back",
        "heartbeat",
        "left",
        "ponged",
        "size",
    )

    def __init__(self, *args: Any) -> None:
        self.give_back = None
        super().__init__(*args)
        self.frames = HiddenFrames()
        self.size = 0  # of the message so far
        self.ponged = Gate()
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
            extensions: Any = self.scope["extensions"]
            extensions["realtime.frames"] = self.frames
        elif self.state in {ASGIWebsocketState.HANDSHAKE, ASGIWebsocketState.CONNECTED}:
            await super().handle(event)
        if self.closed and not self.left:  # refused
            await self.send(StreamClosed(self.stream_id))

    async def leave(self) -> None:
        """Stop the heartbeat, and send the application its disconnect."""
        self.closed = self.left = True
        self.take_back()
        if self.heartbeat is not None:
            self.heartbeat.cancel()
        if self.app_put is not None:
            await self.app_put({"type": "websocket.disconnect", "code": self.close_code})

    def open_write(self) -> Write | None:
        stream_send: Any = self.send
        http = stream_send.__self__
        if self.state is not ASGIWebsocketState.CONNECTED or self.closed:
            return None
        if not isinstance(http, Http1):  # HTTP/2 has a flow control of its own
            return None
        protocol_send: Any = http.send
        write: Write | None = protocol_send.__self__.open_write(self.take_back)
        return write

    async def _accept(self, message: Any) -> None:
        # A few bytes of a compressed message can inflate to any size.
        self.handshake.extensions = None
        await super()._accept(message)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, CloseConnection):
                await self.answer_close(event)
            elif isinstance(event, Message):
                await self.receive(event)
            elif isinstance(event, Pong):
                self.ponged.open()
                await self.count(fragment=False)
            elif isinstance(event, Ping) and await self.count(fragment=False):
                await self._send_wsproto_event(event.response())
            if self.state is not ASGIWebsocketState.CONNECTED:
                return

    async def receive(self, event: Message[Any]) -> None:
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
            self.size = self.frames.fragments = 0
        elif event.frame_finished:
            await self.count(fragment=True)

    async def count(self, *, fragment: bool) -> bool:
        """Count a frame that the application never sees. Return False if there are too many."""
        code = self.frames.refuse(fragment=fragment)
        if code is not None:
            await self.end(code)
        return code is None

    async def answer_close(self, event: CloseConnection) -> None:
        if self.connection.state is not ConnectionState.REMOTE_CLOSING:
            await self.end(event.code, event.reason)  # an invalid frame
        else:
            self.state = ASGIWebsocketState.CLOSED
            self.close_code = int(event.code)
            await self._send_wsproto_event(event.response())
            await self.finish()

    async def app_send(self, message: Any) -> None:
        if self.left and message is not None:
            raise ConnectionError
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
            self.ponged.close()
            try:
                async with asyncio.timeout(interval):
                    await self._send_wsproto_event(Ping())
                    await self.ponged.wait()
            except TimeoutError:
                if not self.busy:  # the pong may wait behind other frames
                    await self.send(StreamClosed(self.stream_id))
                    return
