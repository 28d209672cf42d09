"""Limit of open files."""

import sys
from contextlib import suppress


def allow_many_files() -> None:
    """Raise the limit of open files. Each connection is one, and some systems start with few."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
