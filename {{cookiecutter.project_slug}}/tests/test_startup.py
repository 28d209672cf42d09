"""What is missing is told in one line, with what to do about it."""

import logging
import os
import socket
import subprocess
import sys
{% if cookiecutter.database == "sqlite" %}
from contextlib import closing
{% endif %}
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import Settings

from config import startup
from config.settings import BASE_DIR
from realtime.logs import OutageFilter
{% if cookiecutter.database == "sqlite" %}
from realtime.sqlite import PrivateConnection
{% endif %}


def run(*arguments: str, **variables: str) -> tuple[int, list[str]]:
    """The exit code of a Python process, and the lines that it wrote to stderr."""
    environment = {**os.environ, **variables}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, cwd=BASE_DIR, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


def test_a_port_that_is_taken() -> None:
    """The line says how to take another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code, lines = run("-m", "config.server", HOST="127.0.0.1", PORT=str(port))
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith(f"PORT: cannot listen on 127.0.0.1:{port} (")
    assert lines[0].endswith("). Choose another, such as PORT=9000.")


@pytest.mark.parametrize("arguments", [["manage.py", "check"], ["-m", "config.server"]])
def test_a_python_without_the_packages(arguments: list[str]) -> None:
    """The line says how to get them."""
    line = "Django is not installed here: `make setup`, and put `uv run` before the command."
    assert run("-S", *arguments) == (1, [line])


@pytest.mark.django_db
def test_a_database_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says which, and nothing of its password."""
{% if cookiecutter.database == "postgresql" %}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    place = {"HOST": "127.0.0.1", "PORT": port, "NAME": "site", "PASSWORD": "secret"}
    for name, value in place.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    problem = startup.database_problem() or ""
    assert problem.startswith(f"The database 127.0.0.1:{port}/site does not answer: ")
    assert "docker compose up -d postgresql" in problem
    assert "secret" not in problem
{% else %}
    monkeypatch.setitem(connection.settings_dict, "NAME", "/nowhere/db.sqlite3")
    assert startup.database_problem() == (
        "The database /nowhere/db.sqlite3: unable to open database file. Fix DATABASE_URL."
    )
{% endif %}


{% if cookiecutter.database == "sqlite" %}
@pytest.mark.django_db
def test_a_new_database_is_private(tmp_path: Path) -> None:
    """No other user of the machine reads what is said, whatever the umask is."""
    database = connection.copy()
    database.settings_dict["NAME"] = tmp_path / "db.sqlite3"
    with database.cursor() as cursor:
        cursor.execute("CREATE TABLE message (text)")
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    database.close()
    assert modes == dict.fromkeys(("db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"), 0o600)


def test_a_second_connection_keeps_the_locks(tmp_path: Path) -> None:
    """Another process cannot write while this one does, or both would corrupt the file."""
    path = tmp_path / "db.sqlite3"
    code = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN EXCLUSIVE')"
    with closing(PrivateConnection(path)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        PrivateConnection(path).close()
        status, lines = run("-c", code)
    assert (status, lines[-1]) == (1, "sqlite3.OperationalError: database is locked")


{% endif %}
def test_a_migration_that_is_not_applied(
    transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The server starts and says so, for an update may migrate afterwards."""
    recorder = MigrationRecorder(connection)
    [latest] = MigrationLoader(connection).graph.leaf_nodes("chat")
    recorder.record_unapplied(*latest)
    try:
        startup.look()
    finally:
        recorder.record_applied(*latest)
    line = "Unapplied migrations: 1. Run `make setup`, or `python manage.py migrate`."
    assert line in caplog.messages
    assert startup.database_problem(migrations=True) is None


def test_static_files_that_were_not_collected(settings: Settings, tmp_path: Path) -> None:
    """The server does not start, since it could not show a page."""
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {"staticfiles": {"BACKEND": "realtime.storage.StaticStorage"}}
    with pytest.raises(SystemExit, match="collectstatic"):
        startup.look()


def test_an_outage_makes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """But a mistake in the code shows where it is."""
    for error in (OperationalError("gone\nfor long"), KeyError("mistake")):
        try:
            raise error
        except Exception:
            logging.getLogger("chat").exception("%s failed", "It")
    kept = [OutageFilter().filter(record) for record in caplog.records]
    assert [record.getMessage() for record in kept] == ["It failed: gone", "It failed"]
    assert [record.exc_info is None for record in kept] == [True, False]
