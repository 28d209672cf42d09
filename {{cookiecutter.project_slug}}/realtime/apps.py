"""Application of the engine: its system checks, and sockets that end with a sign-in."""

from django.apps import AppConfig, apps


class RealtimeConfig(AppConfig):
    name = "realtime"

    def ready(self) -> None:
        from realtime import checks  # noqa: F401

        if apps.is_installed("django.contrib.auth"):
            from realtime.auth import signals  # noqa: F401
