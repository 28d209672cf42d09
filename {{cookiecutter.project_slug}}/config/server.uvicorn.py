"""Serves the project with uvicorn: `python -m config.server`."""

import contextlib
import socket
from typing import Any

import uvicorn
from django.conf import settings
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from config import workers
from realtime.protocol import Close


class Protocol(WebSocketsSansIOProtocol):
    """Builds the frame of a broadcast once, for all members are sent the very same message."""

    broadcast: tuple[object, bytes] = (None, b"")

    async def send(self, message: Any) -> None:
        text = message.get("text")
        if message.get("code") == Close.FLOODING:
            self.close_timeout = 1.0
            await super().send(message)
            return self.transport.pause_reading()  # what else it sends is not worth parsing
        if text is None or self.conn.state is not State.OPEN or not self.writable.is_set():
            return await super().send(message)
        last, frame = Protocol.broadcast
        if message is not last:
            frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
            Protocol.broadcast = (message, frame)
        self.transport.write(frame)


class Server(uvicorn.Server):
    """Lets the clients go before it closes their connections."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        from realtime.hub import get_hub

        for server in self.servers:
            server.close()
        await get_hub().drain()
        await super().shutdown(sockets)


def serve(listener: socket.socket) -> None:
    """Answer the connections of a listening socket until a signal says stop."""
    config = uvicorn.Config(
        "config.asgi:application",
        log_config=None,  # Django's logging is set up already
        access_log=settings.DEBUG,
        server_header=False,
        ws=Protocol,
        ws_max_size=settings.REALTIME_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # it doubles the memory of an idle connection
        ws_ping_interval=20,
        ws_ping_timeout=20,
        # Without a limit one open socket keeps the process alive for ever.
        timeout_graceful_shutdown=3,
        proxy_headers=False,  # `realtime.proxy` reads them
    )
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listener])


def main() -> None:
    workers.run(serve)


if __name__ == "__main__":
    main()
