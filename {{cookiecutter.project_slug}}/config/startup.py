"""Says at the start, in a line each, what the site lacks and what to do about it."""

import logging
import sys

from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
{% if cookiecutter.channel_layer == "redis" %}

from realtime.checks import channel_layer_answers
{% endif %}

logger = logging.getLogger(__name__)


def look() -> None:
    """Exit without static files, for no page would ever be shown; log what else is missing.

    A service that is away comes back. And an update may start servers before it migrates: where
    they shall wait for that, `manage.py migrate --check` tells.
    """
    if isinstance(staticfiles_storage, ManifestFilesMixin) and not staticfiles_storage.hashed_files:
        sys.exit("Static files are missing: run `python manage.py collectstatic --no-input`.")
    if problem := database_problem(migrations=True):
        logger.error(problem)
{% if cookiecutter.channel_layer == "redis" %}
    for error in channel_layer_answers():
        logger.error("%s %s", error.msg, error.hint)
{% endif %}


def database_problem(*, migrations: bool = False) -> str | None:
    """Why the database cannot be used, or not with these migrations, if so."""
    direct = connection.copy()
{% if cookiecutter.database == "postgresql" %}
    del direct.settings_dict["OPTIONS"]["pool"]  # which would not tell why it is empty
{% endif %}
    missing: list[object] = []
    try:
        direct.ensure_connection()
        if migrations:
            executor = MigrationExecutor(direct)
            missing += executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        reason, *_ = str(error).splitlines()
{% if cookiecutter.database == "postgresql" %}
        at = "{HOST}:{PORT}/{NAME}".format_map(direct.settings_dict)
        return (
            f"The database {at} does not answer: {reason}. "
            "Start it (`docker compose up -d postgresql`), or fix DATABASE_URL."
        )
{% else %}
        return f"The database {direct.settings_dict['NAME']}: {reason}. Fix DATABASE_URL."
{% endif %}
    finally:
        direct.close()
    if not missing:
        return None
    return f"Unapplied migrations: {len(missing)}. Run `make setup`, or `python manage.py migrate`."
