"""SQLite databases that only their owner can read."""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any


class PrivateConnection(sqlite3.Connection):
    """Connection that creates a missing file with mode 0600, which its -wal and -shm inherit."""

    def __init__(self, database: Path | str, *arguments: Any, **options: Any) -> None:
        if isinstance(database, Path):  # and not a `file:` URI
            # Never open a file that exists. Closing it would drop the locks of this process, and
            # writers would corrupt it (SQLite, "How To Corrupt An SQLite Database File", 2.2).
            with contextlib.suppress(OSError):  # SQLite reports a wrong path itself
                os.close(os.open(database, os.O_CREAT | os.O_EXCL, 0o600))
        super().__init__(database, *arguments, **options)
