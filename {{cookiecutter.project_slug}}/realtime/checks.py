"""System checks for mistakes that lose messages or open the site to others in production."""

import asyncio
from collections.abc import Sequence
from typing import Any

from asgiref.sync import async_to_sync
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connection

from realtime.conf import settings
from realtime.layers import probe

PATIENCE = 2  # seconds


@register(deploy=True)
def channel_layer_reaches_all_processes(**_: Any) -> list[CheckMessage]:
    """Refuse the in-memory layer, whose messages stay in one process."""
    backend = settings.CHANNEL_LAYERS["default"]["BACKEND"]
    if settings.DEBUG or "InMemoryChannelLayer" not in backend:
        return []
    return [
        Error(
            "The in-memory channel layer serves a single process.",
            hint="Set REDIS_URL, such as REDIS_URL=redis://127.0.0.1:6379/0. If one process is "
            'enough, silence this check: SILENCED_SYSTEM_CHECKS = ["realtime.E001"].',
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
                hint=" ".join(getattr(error, "__notes__", ["Start Redis, or fix REDIS_URL."])),
                id="realtime.E002",
            )
        ]
    return []


@register(deploy=True)
def pages_may_connect(**_: Any) -> list[CheckMessage]:
    """Require an origin, because no page may open a WebSocket without one."""
    if settings.ALLOWED_ORIGINS or settings.ALLOWED_ORIGINS is None:
        return []
    return [
        Error(
            "ALLOWED_ORIGINS is empty, so that every page is refused.",
            hint="Set it, such as ALLOWED_ORIGINS=https://chat.example.com.",
            id="realtime.E003",
        )
    ]


@register(deploy=True)
def database_serves_all_machines(**_: Any) -> list[CheckMessage]:
    """Refuse SQLite for several machines, each of which would have a file of its own."""
    if settings.MACHINES == 1 or connection.vendor != "sqlite":
        return []
    return [
        Error(
            f"{settings.MACHINES} machines (MACHINES) cannot share an SQLite database.",
            hint="Set DATABASE_URL to a postgresql:// URL, or MACHINES=1.",
            id="realtime.E004",
        )
    ]


@register(Tags.database)
def database_has_enough_connections(
    databases: Sequence[str] | None, **_: Any
) -> list[CheckMessage]:
    """Compare the pools of all processes with the connections that PostgreSQL accepts."""
    pool = connection.settings_dict["OPTIONS"].get("pool")
    if not databases or connection.vendor != "postgresql" or not isinstance(pool, dict):
        return []
    if connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"]:  # PgBouncer queues what is too much
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('max_connections')::int")
        (available,) = cursor.fetchone()
    processes = settings.MACHINES * settings.WEB_CONCURRENCY
    needed = processes * pool["max_size"]
    if needed < available:
        return []
    return [
        Warning(
            f"{processes} processes may open {needed} connections to PostgreSQL, "
            f"which accepts {available}.",
            hint="Raise its max_connections, or lower the max_size of the pool in DATABASES.",
            id="realtime.W005",
        )
    ]
