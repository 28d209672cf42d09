"""System checks for mistakes that lose messages in production."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register(deploy=True)
def channel_layer_reaches_all_processes(**_: Any) -> list[CheckMessage]:
    """The in-memory layer is for development: what it sends stays in one process."""
    backend = settings.CHANNEL_LAYERS["default"]["BACKEND"]
    if settings.DEBUG or "InMemoryChannelLayer" not in backend:
        return []
    return [
        Error(
            "The in-memory channel layer serves a single process.",
            hint="Use channels_redis in CHANNEL_LAYERS, and set REDIS_URL.",
            id="realtime.E001",
        )
    ]
