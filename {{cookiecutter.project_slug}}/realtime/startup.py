"""Startup checks: one line for each problem, with its fix."""

import logging
import sys

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from realtime.checks import channel_layer_answers
from realtime.conf import settings
from realtime.environment import is_loopback

logger = logging.getLogger(__name__)


def check(*, processes: int, host: str) -> None:
    """Exit if the site cannot work as it is set up. Log what may become available later.

    With DEBUG, also log if others can reach the host: a container of development needs that.

    An update may start servers before it migrates. Where they must wait for that, run
    `manage.py migrate --check` first.
    """
    if problem := setup_problem(processes):
        sys.exit(problem)
    if settings.DEBUG and not is_loopback(host):
        logger.warning(
            "DEBUG: true shows code and settings to everybody who reaches %s. "
            "Set DEBUG=false, or HOST=127.0.0.1.",
            host,
        )
    if problem := database_problem(migrations=True):
        logger.error(problem)
    for error in channel_layer_answers():
        logger.error("%s %s", error.msg, error.hint)


def setup_problem(processes: int) -> str | None:
    """Describe what makes every page fail, or loses messages."""
    if isinstance(staticfiles_storage, ManifestFilesMixin) and not staticfiles_storage.hashed_files:
        return "Static files are missing. Run: python manage.py collectstatic --no-input"
    if processes > 1 and isinstance(get_channel_layer(), InMemoryChannelLayer):
        return (
            f"WEB_CONCURRENCY={processes}: the in-memory channel layer serves one process. "
            "Set WEB_CONCURRENCY=1, or set REDIS_URL."
        )
    return None


def database_problem(*, migrations: bool = False) -> str | None:
    """Describe why the database cannot be used, or which migrations it lacks."""
    direct = connection.copy()
    direct.settings_dict["OPTIONS"].pop("pool", None)  # a pool does not report why it is empty
    missing: list[object] = []
    try:
        direct.ensure_connection()
        if migrations:
            executor = MigrationExecutor(direct)
            missing += executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        reason, *_ = str(error).splitlines()
        return cannot_connect(direct.vendor, direct.settings_dict, reason)
    finally:
        direct.close()
    if not missing:
        return None
    return f"Unapplied migrations: {len(missing)}. Run: python manage.py migrate"


def cannot_connect(vendor: str, database: dict[str, object], reason: str) -> str:
    if vendor == "sqlite":
        return f"DATABASE_URL: cannot open {database['NAME']} ({reason}). Fix the path."
    place = "{HOST}:{PORT}/{NAME}".format_map(database)
    fix = "Fix DATABASE_URL, or start the database."
    if "startup parameter" in reason:
        fix = "If this is PgBouncer, add ?pgbouncer=true to DATABASE_URL."
    return f"DATABASE_URL: cannot connect to {place} ({reason}). {fix}"
