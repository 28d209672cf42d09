"""System checks that name the mistakes which lose messages, or let others in, in production."""

import asyncio
{% if cookiecutter.database == "postgresql" %}
from collections.abc import Sequence
{% endif %}
from typing import Any

from asgiref.sync import async_to_sync
{% if cookiecutter.database == "sqlite" %}
from django.core.checks import CheckMessage, Error, register
{% else %}
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connection
{% endif %}

from realtime.conf import settings
from realtime.layers import probe

PATIENCE = 2  # seconds


@register(deploy=True)
def channel_layer_reaches_all_processes(**_: Any) -> list[CheckMessage]:
    """The in-memory layer is for development: what it sends stays in one process."""
    backend = settings.CHANNEL_LAYERS["default"]["BACKEND"]
    if settings.DEBUG or "InMemoryChannelLayer" not in backend:
        return []
    return [
        Error(
            "The in-memory channel layer serves a single process.",
{% if cookiecutter.channel_layer == "redis" %}
            hint="Use channels_redis in CHANNEL_LAYERS, and set REDIS_URL.",
{% else %}
            hint="Run one process, or generate the project again with channel_layer=redis.",
{% endif %}
            id="realtime.E001",
        )
    ]


@register(deploy=True)
def channel_layer_answers(**_: Any) -> list[CheckMessage]:
    """Use the channel layer. Without it, sockets get new events from the database only."""
    try:
        async_to_sync(asyncio.wait_for)(probe(), PATIENCE)
    except Exception as error:
        return [
            Error(
                f"The channel layer does not answer: {str(error) or 'too late'}.",
                hint="Start Redis (`docker compose up -d redis`), or fix REDIS_URL. Its user needs "
                f"all channels and keys that start with {settings.REDIS_PREFIX}:.",
                id="realtime.E002",
            )
        ]
    return []


@register(deploy=True)
def pages_may_connect(**_: Any) -> list[CheckMessage]:
    """Without an origin no page may open a WebSocket."""
    if settings.ALLOWED_ORIGINS:
        return []
    return [
        Error(
            "ALLOWED_ORIGINS is empty, so that every page is refused.",
            hint="Set it, such as ALLOWED_ORIGINS=https://chat.example.com.",
            id="realtime.E003",
        )
    ]


{% if cookiecutter.database == "sqlite" %}
@register(deploy=True)
def database_serves_all_machines(**_: Any) -> list[CheckMessage]:
    """SQLite is a file: machines that each have their own show different messages."""
    if settings.MACHINES == 1:
        return []
    return [
        Error(
            f"{settings.MACHINES} machines (MACHINES) cannot share an SQLite database.",
            hint="Use PostgreSQL, or one machine.",
            id="realtime.E004",
        )
    ]
{% else %}
@register(Tags.database)
def database_has_enough_connections(
    databases: Sequence[str] | None, **_: Any
) -> list[CheckMessage]:
    """When all pools are full, PostgreSQL must not turn the last processes away."""
    if not databases:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('max_connections')::int")
        (available,) = cursor.fetchone()
    processes = settings.MACHINES * settings.WEB_CONCURRENCY
    needed = processes * connection.settings_dict["OPTIONS"]["pool"]["max_size"]
    if needed < available:
        return []
    return [
        Warning(
            f"{processes} processes may want {needed} connections of PostgreSQL, "
            f"which has {available}.",
            hint="Raise its max_connections, or lower the max_size of the pool in the settings.",
            id="realtime.W005",
        )
    ]
{% endif %}
