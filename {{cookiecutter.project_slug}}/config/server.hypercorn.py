"""Serves the project with hypercorn: `python -m config.server`."""

import asyncio
import logging
import os
import signal
import socket
import sys
from typing import Any

import hypercorn.asyncio
from hypercorn.config import Config

from config import workers
from realtime.conf import settings

if sys.platform == "win32":
    new_event_loop = asyncio.new_event_loop
else:
    # asyncio's own loop waits for open sockets at the end, for ever (hypercorn issue 308).
    from uvloop import new_event_loop

STOP_SECONDS = 10  # exit this long after a signal, even if requests are unfinished


def serve(listener: socket.socket) -> None:
    """Answer the connections of a listening socket until a signal says stop."""
    from config import protocols

    protocols.install()
    config = Config()
    config.backlog = 2048  # hypercorn calls listen() once more
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
    asyncio.Runner(loop_factory=new_event_loop).run(answer(config))
    # A thread that runs a slow view would keep the process until it is done.
    logging.shutdown()
    os._exit(0)


async def answer(config: Config) -> None:
    from config import asgi
    from realtime.process import get_process

    application: Any = asgi.application
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop(*_: object) -> None:
        loop.call_soon_threadsafe(stopped.set)

    async def drained() -> None:
        await stopped.wait()
        await get_process().drain()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    serving = asyncio.ensure_future(
        hypercorn.asyncio.serve(application, config, shutdown_trigger=drained)
    )
    stopping = asyncio.ensure_future(stopped.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    # Hypercorn waits for cancelled requests, and they for their sync views.
    await asyncio.wait({serving}, timeout=STOP_SECONDS)
    if serving.done():
        await serving


def main() -> None:
    workers.run(serve)


if __name__ == "__main__":
    main()
