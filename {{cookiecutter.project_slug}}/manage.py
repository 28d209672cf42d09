#!/usr/bin/env python
"""Django's command-line utility."""

{% if cookiecutter.database == "postgresql" %}
import logging
{% endif %}
import os
import sys

from config.startup import database_problem


def main() -> None:
    # Not before `config` looked whether they are there.
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
{% if cookiecutter.database == "postgresql" %}
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns while we wait
{% endif %}
    try:
        execute_from_command_line(sys.argv)
    except OperationalError:
        if problem := database_problem():
            sys.exit(problem)
        raise


if __name__ == "__main__":
    main()
