"""Serves the project with uvicorn: `python -m config.server`."""

import asyncio
import logging
import os
import signal
import socket
from types import FrameType

import uvicorn
from websockets import http11

from config import workers
from config.protocols import HTTPProtocol, WebSocketProtocol
from realtime.conf import settings


class Server(uvicorn.Server):
    """Close sockets with a code of ours before the server ends."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again at the end, and the exit code would not be 0.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        from realtime.process import get_process

        for server in self.servers:
            server.close()
        await get_process().drain()
        await super().shutdown(sockets)


def serve(listener: socket.socket) -> None:
    """Answer the connections of a listening socket until a signal says stop."""
    # `HTTPProtocol` has limited the head. uvicorn would not answer what websockets refuses.
    http11.MAX_LINE_LENGTH = http11.MAX_NUM_HEADERS = settings.SERVER_MAX_HEAD_BYTES
    config = uvicorn.Config(
        "config.asgi:application",
        log_config=None,  # Django's logging is set up already
        access_log=settings.DEBUG,
        server_header=False,
        http=HTTPProtocol,
        timeout_keep_alive=settings.SERVER_IDLE_SECONDS,
        ws=WebSocketProtocol,
        ws_max_size=settings.REALTIME_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # it doubles the memory of an idle connection
        ws_ping_interval=settings.SERVER_PING_SECONDS,
        ws_ping_timeout=settings.SERVER_PING_SECONDS,
        # Without a limit one open socket keeps the process alive for ever.
        timeout_graceful_shutdown=3,
        proxy_headers=False,  # `realtime.proxy` reads them
        ssl_certfile=settings.TLS_CERTFILE,
        ssl_keyfile=settings.TLS_KEYFILE,
    )
    runner = asyncio.Runner(loop_factory=config.get_loop_factory())
    runner.run(Server(config).serve([listener]))
    # A thread that runs a slow view would keep the process until it is done.
    logging.shutdown()
    os._exit(0)


def main() -> None:
    workers.run(serve)


if __name__ == "__main__":
    main()
