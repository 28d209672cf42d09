"""Serves the project with uvicorn: `python -m config.server`."""

import contextlib
import socket

import uvicorn
from django.conf import settings
from websockets import http11

from config import workers
from config.protocols import HTTPProtocol, WebSocketProtocol


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
