"""Serves the project with daphne: `python -m config.server`."""

import socket

from django.conf import settings

from config import workers


def serve(listener: socket.socket) -> None:
    """Answer the connections of a listening socket until a signal says stop."""
    # Imported here since it installs Twisted's reactor, which processes must not share.
    from config.asgi import application
    from config.draining import DrainingServer, exit_now

    server = DrainingServer(
        application,
        endpoints=[f"fd:fileno={listener.fileno()}"],
        server_name="",
        ping_interval=20,
        ping_timeout=30,
        websocket_timeout=-1,
        websocket_max_message_size=settings.REALTIME_MAX_MESSAGE_BYTES,
        websocket_max_frame_size=settings.REALTIME_MAX_MESSAGE_BYTES,
        application_close_timeout=5,
        signal_handlers=False,
    )
    server.run()
    exit_now()


def main() -> None:
    workers.run(serve)


if __name__ == "__main__":
    main()
