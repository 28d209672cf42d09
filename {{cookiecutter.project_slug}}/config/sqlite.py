"""SQLite databases that only their owner may read."""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any


class PrivateConnection(sqlite3.Connection):
    """A connection that creates a missing file with mode 0600, which its -wal and -shm inherit."""

    def __init__(self, database: Path | str, *arguments: Any, **options: Any) -> None:
        if isinstance(database, Path):  # and not a `file:` URI
            with contextlib.suppress(OSError):  # SQLite says what is wrong with the path
                os.close(os.open(database, os.O_RDONLY | os.O_CREAT, 0o600))
        super().__init__(database, *arguments, **options)
