"""Uvicorn: its options, and a shutdown that closes sockets with 4012."""

import asyncio
import signal
import socket
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from websockets import http11

from realtime.conf import settings
from realtime.process import get_process
from realtime.servers.uvicorn.http import HTTPProtocol
from realtime.servers.uvicorn.websocket import WebSocketProtocol


class Server(uvicorn.Server):
    """Server that drains before it stops."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again at the end, and the exit code would not be 0.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await get_process().drain()
        await super().shutdown(sockets)


def serve(application: Any, listener: socket.socket) -> None:
    """Serve an application on a listening socket until SIGTERM or SIGINT."""
    # `HTTPProtocol` limits the head. uvicorn sends no response to a head that websockets refuses.
    http11.MAX_LINE_LENGTH = http11.MAX_NUM_HEADERS = settings.SERVER_MAX_HEAD_BYTES
    config = uvicorn.Config(
        application,
        log_config=None,  # Django has configured logging
        access_log=settings.DEBUG,
        server_header=False,
        http=HTTPProtocol,
        timeout_keep_alive=settings.SERVER_IDLE_SECONDS,
        ws=WebSocketProtocol,
        ws_max_size=settings.REALTIME_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # doubles the memory of an idle connection
        ws_ping_interval=settings.SERVER_PING_SECONDS,
        ws_ping_timeout=settings.SERVER_PING_SECONDS,
        timeout_graceful_shutdown=3,  # without a limit, one open socket keeps the process alive
        proxy_headers=False,  # `realtime.proxy` reads them
        ssl_certfile=settings.TLS_CERTFILE,
        ssl_keyfile=settings.TLS_KEYFILE,
    )
    runner = asyncio.Runner(loop_factory=config.get_loop_factory())
    if settings.TLS_CERTFILE:
        loop: Any = runner.get_loop()  # uvicorn has no setting for this time, which is a minute
        loop.create_server = partial(
            loop.create_server, ssl_handshake_timeout=settings.SERVER_HEAD_SECONDS
        )
    runner.run(Server(config).serve([listener]))
