"""Django's command-line utility, with one line for what is not set up.

Python 3.11 must be able to read this file, or it could not report that it is too old.
"""

import logging
import platform
import sys
from importlib.util import find_spec


def execute_from_command_line(arguments: list[str]) -> None:
    """Run a management command. Exit with one line if Python, Django or the database is missing."""
    if sys.version_info < (3, 12):  # noqa: UP036
        version = platform.python_version()
        sys.exit(f"Python {version} is too old: 3.12 is needed. Put `uv run` before the command.")
    if not find_spec("django"):
        sys.exit("Django is not installed. Run `uv sync`, and put `uv run` before the command.")
    from django.core import management
    from django.db import OperationalError

    from realtime.startup import database_problem

    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns while it reconnects
    try:
        management.execute_from_command_line(arguments)
    except OperationalError:
        if problem := database_problem():
            sys.exit(problem)
        raise
