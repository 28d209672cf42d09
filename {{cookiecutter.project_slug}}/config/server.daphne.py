"""Serves the project with daphne: `python -m config.server`."""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys

import django
from django.conf import settings


def serve(listener: socket.socket) -> None:
    """Answer the connections of a listening socket until a signal says stop."""
    # Imported here since it installs Twisted's reactor, which processes must not share.
    from daphne.server import Server, reactor

    from config.asgi import application

    server = Server(
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

    def stop(*_: object) -> None:
        # Once: a second signal while sockets are being closed would make daphne wait for ever.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        reactor.callFromThread(server.stop)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.run()
    # Twisted stops its loop without ending what runs there, and a thread that waits for it would
    # keep the process for ever.
    logging.shutdown()
    os._exit(0)


def supervise(listener: socket.socket, processes: int) -> None:
    """Run several processes on one socket; when one ends, end all, so that a restart is clean."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=serve, args=[listener]) for _ in range(processes)]
    for worker in workers:
        worker.start()

    def stop(*_: object) -> None:
        for worker in workers:
            worker.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    multiprocessing.connection.wait([worker.sentinel for worker in workers])
    stop()
    for worker in workers:
        worker.join()


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    try:
        listener = socket.create_server((settings.HOST, settings.PORT), backlog=1024)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        sys.exit(f"PORT: cannot listen on {settings.HOST}:{settings.PORT} ({reason}).")
    if settings.WEB_CONCURRENCY == 1:
        serve(listener)
    else:
        supervise(listener, settings.WEB_CONCURRENCY)


if __name__ == "__main__":
    main()
