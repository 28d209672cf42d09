"""Serves the project with daphne: `python -m config.server`."""

import socket

from config import workers
from realtime.conf import settings


def serve(listener: socket.socket) -> None:
    """Answer the connections of a listening socket until a signal says stop."""
    # Imported here since it installs Twisted's reactor, which processes must not share.
    from config.asgi import application
    from config.draining import DrainingServer, exit_now

    server = DrainingServer(
        application,
        endpoints=["the listening socket"],  # daphne wants one
        server_name="",
        ping_interval=settings.SERVER_PING_SECONDS,
        ping_timeout=settings.SERVER_PING_SECONDS * 3 // 2,
        websocket_timeout=-1,
        application_close_timeout=5,
    )
    server.run(listener)
    exit_now()


def main() -> None:
    workers.run(serve)


if __name__ == "__main__":
    main()
