"""Runs a server in one process or in several, which share a listening socket."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable

import django
from django.conf import settings

from config import startup

RECEIVE_BYTES = 8 * 1024  # which Linux doubles

type Serve = Callable[[socket.socket], None]


def run(serve: Serve) -> None:
    """Listen on HOST and PORT, and call `serve` in `WEB_CONCURRENCY` processes."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
        listener = socket.create_server((settings.HOST, settings.PORT), family=family, backlog=2048)
    except OSError as error:
        reason, *_ = str(error.strerror).split(" (")
        sys.exit(
            f"PORT: cannot listen on {settings.HOST}:{settings.PORT} ({reason}). "
            "Choose another, such as PORT=9000."
        )
    # All frames that one read brings are parsed at a stretch, so a flood must come in small reads.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    if settings.WEB_CONCURRENCY == 1:
        django.setup()
        startup.look()
        serve(listener)
    else:
        supervise(serve, listener)


def supervise(serve: Serve, listener: socket.socket) -> None:
    """Start the processes; when one ends, end all, so that whoever watches starts them anew."""
    with tempfile.TemporaryDirectory() as metrics:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics  # where they add up what they count
        django.setup()
        context = multiprocessing.get_context("fork")
        # In a process of its own: what connects before the fork leaves threads and locks behind.
        look = context.Process(target=startup.look)
        look.start()
        look.join()
        if look.exitcode:
            sys.exit(look.exitcode)
        workers = [
            context.Process(target=serve, args=[listener]) for _ in range(settings.WEB_CONCURRENCY)
        ]
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
