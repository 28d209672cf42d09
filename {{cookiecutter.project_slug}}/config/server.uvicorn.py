"""Serves the project with uvicorn: `python -m config.server`."""

import os

import django
import uvicorn
from django.conf import settings


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    uvicorn.run(
        "config.asgi:application",
        host=settings.HOST,
        port=settings.PORT,
        workers=settings.WEB_CONCURRENCY,
        log_config=None,  # Django's logging is set up already
        access_log=settings.DEBUG,
        server_header=False,
        ws_max_size=settings.REALTIME_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # it doubles the memory of an idle connection
        ws_ping_interval=20,
        ws_ping_timeout=20,
        # Without a limit one open socket keeps the process alive for ever.
        timeout_graceful_shutdown=5,
        # X-Forwarded-* is believed from 127.0.0.1, or from FORWARDED_ALLOW_IPS where that is set.
        proxy_headers=True,
    )


if __name__ == "__main__":
    main()
