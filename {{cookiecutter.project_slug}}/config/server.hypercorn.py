"""Serves the project with hypercorn: `python -m config.server`."""

import asyncio
import logging
import signal
import socket
import sys
from typing import Any

import hypercorn.asyncio
from django.conf import settings
from hypercorn.config import Config

from config import workers

if sys.platform == "win32":
    new_event_loop = asyncio.new_event_loop
else:
    # asyncio's own loop waits for open sockets at the end, for ever (hypercorn issue 308).
    from uvloop import new_event_loop


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
    config.websocket_ping_interval = 20
    config.graceful_timeout = 3
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(answer(config))


async def answer(config: Config) -> None:
    from config import asgi
    from realtime.hub import get_hub

    application: Any = asgi.application
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop(*_: object) -> None:
        loop.call_soon_threadsafe(stopped.set)

    async def drained() -> None:
        await stopped.wait()
        await get_hub().drain()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    await hypercorn.asyncio.serve(application, config, shutdown_trigger=drained)


def main() -> None:
    workers.run(serve)


if __name__ == "__main__":
    main()
