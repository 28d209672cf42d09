"""Hypercorn: its options, and a shutdown that closes sockets with 4012."""

import asyncio
import logging
import socket
import sys
from typing import Any

import hypercorn.asyncio
import hypercorn.asyncio.run
import hypercorn.asyncio.tcp_server
import hypercorn.protocol.h2
import hypercorn.protocol.h11
from hypercorn.config import Config

from realtime.conf import settings
from realtime.process import get_process
from realtime.servers import on_stop
from realtime.servers.hypercorn.connection import Connection, Tasks
from realtime.servers.hypercorn.http1 import Http1
from realtime.servers.hypercorn.http2 import Http2
from realtime.servers.hypercorn.websocket import WebSocket

if sys.platform == "win32":
    new_event_loop = asyncio.new_event_loop
else:
    # At the end, asyncio's own loop waits for open sockets without a limit (hypercorn issue 308).
    from uvloop import new_event_loop

STOP_SECONDS = 10  # exit this long after a signal, even if requests are unfinished


def install() -> None:
    """Make hypercorn use the engine's classes, for which it has no settings."""
    patched: Any = hypercorn
    patched.asyncio.run.TCPServer = Connection
    patched.asyncio.tcp_server.TaskGroup = Tasks
    patched.protocol.H11Protocol = Http1
    patched.protocol.H2Protocol = Http2
    patched.protocol.h11.WSStream = patched.protocol.h2.WSStream = WebSocket


def options(listener: socket.socket) -> Config:
    config = Config()
    config.backlog = 2048  # hypercorn calls listen() again
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    config.accesslog = logging.getLogger("hypercorn.access") if settings.DEBUG else None
    config.include_server_header = False
    config.websocket_max_message_size = settings.REALTIME_MAX_MESSAGE_BYTES
    config.websocket_ping_interval = settings.SERVER_PING_SECONDS
    config.keep_alive_timeout = settings.SERVER_IDLE_SECONDS
    config.h11_max_incomplete_size = settings.SERVER_MAX_HEAD_BYTES
    config.h2_max_header_list_size = settings.SERVER_MAX_HEAD_BYTES
    config.certfile, config.keyfile = settings.TLS_CERTFILE, settings.TLS_KEYFILE
    config.ssl_handshake_timeout = settings.SERVER_HEAD_SECONDS
    config.graceful_timeout = 3
    return config


def serve(application: Any, listener: socket.socket) -> None:
    """Serve an application on a listening socket until SIGTERM or SIGINT."""
    install()
    runner = asyncio.Runner(loop_factory=new_event_loop)
    runner.run(serve_until_stopped(application, options(listener)))


async def serve_until_stopped(application: Any, config: Config) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    on_stop(lambda *_: loop.call_soon_threadsafe(stopped.set))

    async def drained() -> None:
        await stopped.wait()
        await get_process().drain()

    serving = asyncio.ensure_future(
        hypercorn.asyncio.serve(application, config, shutdown_trigger=drained, mode="asgi")
    )
    stopping = asyncio.ensure_future(stopped.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    # Hypercorn waits for cancelled requests, and these wait for sync views.
    await asyncio.wait({serving}, timeout=STOP_SECONDS)
    if serving.done():
        await serving
