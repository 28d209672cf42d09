"""ASGI servers, one package each. `SERVER` chooses the one that is imported."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from django.apps import apps
from django.utils.module_loading import import_string

from realtime.conf import settings
from realtime.environment import exit_for_packages
from realtime.types import Application

# Names and requirements. The engine overrides private parts of the servers, which bounds versions.
SERVERS = {
    "uvicorn": ("uvicorn[standard]>=0.54,<0.55",),
    "daphne": ("daphne>=4.2.3,<5",),
    "hypercorn": (
        "hypercorn>=0.18,<0.19",
        "h2>=4.4.1,<5",
        "uvloop>=0.23,<0.24; sys_platform != 'win32'",
    ),
}


def load() -> ModuleType:
    """Import the package of `SERVER`, or exit with the fix.

    Importing daphne creates an event loop, so call this only in the process that serves.
    """
    name = settings.SERVER
    if name not in SERVERS:
        sys.exit(f"SERVER: {name!r} is unknown. Use one of {', '.join(SERVERS)}.")
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError:
        exit_for_packages("SERVER", name, SERVERS[name])


def load_application() -> Application:
    """Import ASGI_APPLICATION, or exit with the fix."""
    path = str(getattr(settings, "ASGI_APPLICATION", None))
    try:
        application: Application = import_string(path)
    except ImportError as error:
        # An error inside a module of the path needs its traceback.
        if error.name is not None and not f"{path}.".startswith(f"{error.name}."):
            raise
        sys.exit(f'ASGI_APPLICATION: {error}. Set a path, such as "config.asgi.application".')
    return application


def serve(application: Application, listener: socket.socket) -> None:
    """Serve an application on a listening socket until a signal arrives, then exit with 0."""
    from realtime import process  # needs the settings, which name the servers

    process.is_serving = True
    server = load()
    if apps.is_installed("realtime.figures"):
        from realtime.figures import ticker

        ticker.start()
    server.serve(application, listener)
    exit_now()


def on_stop(stop: Callable[..., object]) -> None:
    """Call `stop` at SIGTERM and SIGINT, unless Django's reloader owns the main thread."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)


def exit_now(status: int = 0) -> None:
    """Exit without waiting for threads, which may run a slow view."""
    logging.shutdown()
    os._exit(status)
