"""Serves the project with hypercorn: `python -m config.server`."""

import logging
import os
import sys

import django
from django.conf import settings
from hypercorn.config import Config
from hypercorn.run import run


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    config = Config()
    config.application_path = "config.asgi:application"
    config.bind = [f"{settings.HOST}:{settings.PORT}"]
    if sys.platform != "win32":
        # asyncio's own loop waits for open sockets at the end, for ever (hypercorn issue 308).
        config.worker_class = "uvloop"
    # Workers are processes beside this one; none means that this one serves.
    config.workers = settings.WEB_CONCURRENCY if settings.WEB_CONCURRENCY > 1 else 0
    config.errorlog = logging.getLogger("hypercorn.error")
    config.accesslog = logging.getLogger("hypercorn.access") if settings.DEBUG else None
    config.include_server_header = False
    config.websocket_max_message_size = settings.REALTIME_MAX_MESSAGE_BYTES
    config.websocket_ping_interval = 20
    config.graceful_timeout = 3
    try:
        sys.exit(run(config))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        sys.exit(f"PORT: cannot listen on {settings.HOST}:{settings.PORT} ({reason}).")


if __name__ == "__main__":
    main()
