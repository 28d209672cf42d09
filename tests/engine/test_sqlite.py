"""SQLite as the database of a site."""

import subprocess
import sys
from contextlib import closing

import pytest
from django.db import connection

from engine.test_checks import found
from realtime import startup
from realtime.sqlite import PrivateConnection


@pytest.mark.django_db
def test_new_database_is_private(tmp_path):
    """The files of a new database are readable by their owner only, whatever the umask is."""
    database = connection.copy()
    database.settings_dict["NAME"] = tmp_path / "db.sqlite3"
    with database.cursor() as cursor:
        cursor.execute("CREATE TABLE entry (text)")
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    database.close()
    assert modes == dict.fromkeys(("db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"), 0o600)


def test_second_connection_keeps_the_locks(tmp_path):
    """Another process cannot write while this one does. Otherwise both would corrupt the file."""
    path = tmp_path / "db.sqlite3"
    code = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN EXCLUSIVE')"
    with closing(PrivateConnection(path)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        PrivateConnection(path).close()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "sqlite3.OperationalError: database is locked"


@pytest.mark.django_db
def test_unreachable_database_is_named(monkeypatch):
    """A database that cannot be opened is one line with its path and the variable to fix."""
    monkeypatch.setitem(connection.settings_dict, "NAME", "/nowhere/db.sqlite3")
    problem = "DATABASE_URL: cannot open /nowhere/db.sqlite3 (unable to open database file). Fix the path."
    assert startup.database_problem() == problem


@pytest.mark.django_db
def test_sqlite_serves_one_machine(settings):
    """SQLite is an error with several MACHINES, as each would have a file of its own."""
    settings.DEBUG = True
    settings.MACHINES = 2
    assert found() == {"realtime.E004": "2 machines (MACHINES) cannot share an SQLite database."}
