"""Problems at the start: one line each, with the fix."""

import os
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from realtime import servers, startup
from realtime.testing import wait_until_answered

pytestmark = pytest.mark.start


def run(*arguments, **variables):
    """Return the exit code of a Python process, and the lines that it wrote to stderr."""
    done = subprocess.run([sys.executable, *arguments], env={**os.environ, **variables}, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


def free_port():
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_taken_port_is_named():
    """A server on a taken port ends with one line that shows how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code, lines = run(
            "manage.py", "serve", DJANGO_SETTINGS_MODULE="engine.settings", HOST="127.0.0.1", PORT=str(port)
        )
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith(f"PORT: cannot listen on 127.0.0.1:{port} (")
    assert lines[0].endswith("). Choose another, such as PORT=9000.")


def test_impossible_port_is_named():
    """A port that no address has ends the development server with one line."""
    line = "PORT: 70000 is not between 0 and 65535. Choose another, such as PORT=9000."
    variables = {"DJANGO_SETTINGS_MODULE": "engine.settings"}
    code, lines = run("manage.py", "runserver", "--noreload", "--skip-checks", "70000", **variables)
    assert (code, lines[-1]) == (1, line)
    assert "Traceback (most recent call last):" not in lines


def serve_with_application(folder, value):
    """Return the exit code and the lines of a server with this ASGI_APPLICATION."""
    (folder / "wrong_settings.py").write_text(f"from engine.settings import *\nASGI_APPLICATION = {value!r}\n")
    (folder / "failing.py").write_text("import nothing_of_this_name\n")
    variables = {"DJANGO_SETTINGS_MODULE": "wrong_settings", "PORT": free_port(), "PYTHONPATH": str(folder)}
    return run("manage.py", "serve", **variables)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("engine.nowhere.application", "No module named 'engine.nowhere'"),
        ("engine.asgi.nothing", 'Module "engine.asgi" does not define a "nothing" attribute/class'),
        ("application", "application doesn't look like a module path"),
        (None, "None doesn't look like a module path"),
    ],
)
def test_wrong_application_is_named(value, reason, tmp_path):
    """A wrong ASGI_APPLICATION ends the start with one line."""
    line = f'ASGI_APPLICATION: {reason}. Set a path, such as "config.asgi.application".'
    code, lines = serve_with_application(tmp_path, value)
    assert (code, lines[-1]) == (1, line)
    assert "Traceback (most recent call last):" not in lines


def test_failing_application_shows_its_traceback(tmp_path):
    """An import that fails inside the application's module is shown where it fails."""
    code, lines = serve_with_application(tmp_path, "failing.application")
    assert (code, lines[-1]) == (1, "ModuleNotFoundError: No module named 'nothing_of_this_name'")
    assert "Traceback (most recent call last):" in lines


def test_unapplied_migration_is_logged(transactional_db, caplog):
    """The server starts without the latest migration and logs the command, as an update may migrate later."""
    recorder = MigrationRecorder(connection)
    [latest] = MigrationLoader(connection).graph.leaf_nodes("sessions")
    recorder.record_unapplied(*latest)
    try:
        startup.check(processes=1, host="127.0.0.1")
    finally:
        recorder.record_applied(*latest)
    assert "Unapplied migrations: 1. Run: python manage.py migrate" in caplog.messages
    assert startup.database_problem(migrations=True) is None


def test_missing_static_files_end_the_start(settings, tmp_path):
    """The server does not start without collected static files, as it could show no page."""
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {"staticfiles": {"BACKEND": "realtime.storage.StaticStorage"}}
    with pytest.raises(SystemExit, match="collectstatic"):
        startup.check(processes=1, host="127.0.0.1")


@pytest.mark.parametrize("command", ["runserver --noreload", "runserver --noreload 0.0.0.0:{port}", "serve"])
def test_development_beyond_this_machine_is_logged(command, tmp_path):
    """The server starts, as a container of development needs, and logs one line with the fix."""
    port = free_port()
    variables = {"DJANGO_SETTINGS_MODULE": "engine.settings", "SECRET_KEY": "x" * 64, "PORT": port}
    if "0.0.0.0" not in command:
        variables["HOST"] = "0.0.0.0"
    log = tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "manage.py", *command.format(port=port).split()],
            env={**os.environ, **variables},
            stdout=file,
            stderr=file,
        )
    try:
        wait_until_answered(port, server)
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
            assert answer.status == 200
    finally:
        server.kill()
        server.wait()
    line = "DEBUG: true shows code and settings to everybody who reaches 0.0.0.0. Set DEBUG=false, or HOST=127.0.0.1."
    assert log.read_text().count(f"WARNING realtime.startup: {line}") == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("debug", "host"), [(False, "0.0.0.0"), (True, "127.0.0.1"), (True, "::1"), (True, "localhost")]
)
def test_nothing_is_logged_without_need(settings, caplog, debug, host):
    """Production serves all addresses, and development this machine."""
    settings.DEBUG = debug
    startup.check(processes=1, host=host)
    assert "DEBUG" not in caplog.text


def test_several_processes_need_redis():
    """The server does not start several processes on the in-memory layer."""
    with pytest.raises(SystemExit) as end:
        startup.check(processes=2, host="127.0.0.1")
    assert str(end.value) == (
        "WEB_CONCURRENCY=2: the in-memory channel layer serves one process. Set WEB_CONCURRENCY=1, or set REDIS_URL."
    )


def test_missing_packages_are_named():
    """Without Django a command ends with one line that shows how to install it."""
    line = "Django is not installed. Run `uv sync`, and put `uv run` before the command."
    assert run("-S", "manage.py", "check") == (1, [line])


def test_unreachable_database_is_named():
    """A database of another machine is named with its address."""
    database = {"HOST": "10.0.0.7", "PORT": 5432, "NAME": "site"}
    problem = "DATABASE_URL: cannot connect to 10.0.0.7:5432/site (refused). Fix DATABASE_URL, or start the database."
    assert startup.cannot_connect("postgresql", database, "refused") == problem


def test_command_without_a_database_ends_with_one_line(tmp_path):
    """A path that SQLite cannot open is named with the fix."""
    url = f"sqlite:///{tmp_path}/missing/db.sqlite3"
    code, lines = run(
        "manage.py", "migrate", "--skip-checks", DJANGO_SETTINGS_MODULE="engine.settings", DATABASE_URL=url
    )
    reason = f"DATABASE_URL: cannot open {tmp_path}/missing/db.sqlite3 (unable to open database file). Fix the path."
    assert (code, lines) == (1, [reason])


def test_foreign_address_is_named():
    """An address of another machine ends the start with one line."""
    variables = {"DJANGO_SETTINGS_MODULE": "engine.settings", "HOST": "203.0.113.7"}
    code, lines = run("manage.py", "serve", **variables)
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("HOST: cannot listen on 203.0.113.7:8000 (")


def test_unknown_server_is_named(settings):
    """A server that the engine does not know ends the start with the names of those that it knows."""
    settings.SERVER = "gunicorn"
    with pytest.raises(SystemExit, match="SERVER: 'gunicorn' is unknown"):
        servers.load()


def test_missing_server_is_named(settings, monkeypatch):
    """A server whose packages are missing ends the start with the command that adds them."""
    monkeypatch.setitem(servers.SERVERS, "gunicorn", ("gunicorn",))
    settings.SERVER = "gunicorn"
    with pytest.raises(SystemExit, match='uv add "gunicorn"'):
        servers.load()
