"""Connections of hypercorn that end in bounded time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from hypercorn.asyncio.task_group import TaskGroup, _handle
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.events import Closed, RawData

from realtime.servers.gate import Gate
from realtime.servers.message_queue import MessageQueue
from realtime.types import Write

LINGER_SECONDS = 3  # abort a closed connection whose client has not left after this


class Inbox:
    """Queue of an application's messages. A full one delays the client, but not the disconnect.

    Hypercorn's own queue blocks the disconnect too. The connection of a client that filled it is
    then never closed.
    """

    def __init__(self, size: int) -> None:
        self.messages = MessageQueue()
        self.size = size
        self.room = Gate()
        self.disconnected = False

    async def get(self) -> Any:
        message = await self.messages.get()
        if self.messages.qsize() < self.size:
            self.room.open()
        return message

    async def put(self, message: Any) -> None:
        if self.disconnected:
            return
        self.messages.put_nowait(message)
        if message["type"].endswith(".disconnect"):
            self.disconnected = True
            self.room.open()
        elif self.messages.qsize() >= self.size:
            self.room.close()
        await self.room.wait()


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

    def open_write(self, on_full: Callable[[], None]) -> Write | None:
        """Return the `write` of the transport. Return None if its buffer is not empty."""
        transport = self.writer.transport
        protocol: Any = transport.get_protocol()
        if transport.is_closing() or transport.get_write_buffer_size():
            return None

        def pause_writing() -> None:
            type(protocol).pause_writing(protocol)
            on_full()

        protocol.pause_writing = pause_writing
        return transport.write

    async def run(self) -> None:
        try:
            await super().run()
        except asyncio.CancelledError:  # at the end of the process
            # If the task were cancelled, asyncio of Python 3.12.1 would log an error.
            self.writer.transport.abort()
            return
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
