"""Supervision of worker processes."""

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.start


def idle(listener):
    print(os.getpid(), flush=True)
    signal.pause()


def die(listener):
    os._exit(3)


def hang(listener):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    idle(listener)


def supervise(name, **variables):
    """Start a process that supervises a worker, which calls a function of this module."""
    code = (
        "import django, socket; django.setup(); from realtime.servers import workers; from engine import test_workers; "
        "workers.STOP_SECONDS = 1; "
        f"workers.Supervisor(test_workers.{name}, socket.socket()).run()"
    )
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "engine.settings", "WEB_CONCURRENCY": "1", **variables}
    return subprocess.Popen([sys.executable, "-c", code], env=environ, text=True, stdout=-1, stderr=-1)


def read_log(supervisor):
    """Return the supervisor's log until its end, without the time."""
    _, output = supervisor.communicate(timeout=60)
    lines = [line.partition(" realtime.servers.workers: ")[2] for line in output.splitlines()]
    return [line.partition(" [")[0] for line in lines if line]


def test_killed_worker_is_replaced():
    """A killed worker is replaced with one log line, and SIGTERM ends the server with exit code 0."""
    with supervise("idle") as supervisor:
        first = int(supervisor.stdout.readline())
        os.kill(first, signal.SIGKILL)
        assert int(supervisor.stdout.readline()) != first
        supervisor.terminate()
        assert read_log(supervisor) == [f"Worker {first} ended with SIGKILL. Starting another."]
    assert supervisor.returncode == 0


def test_workers_that_keep_dying_end_the_server():
    """Four dead workers are replaced. The fifth death ends the server with exit code 1."""
    with supervise("die") as supervisor:
        *lines, last = read_log(supervisor)
    assert supervisor.returncode == 1
    ends = [line.partition(" ended with ")[2] for line in lines]
    assert ends == ["exit code 3. Starting another."] * 4
    assert last.endswith("Stopping, because 5 workers ended within 60 seconds.")


def test_hanging_worker_is_killed():
    """A worker that ignores SIGTERM is killed, and the server ends with exit code 0."""
    with supervise("hang") as supervisor:
        supervisor.stdout.readline()
        supervisor.terminate()
        assert read_log(supervisor) == []
    assert supervisor.returncode == 0


def test_problem_is_found_before_there_are_workers(tmp_path):
    """A wrong ASGI_APPLICATION is one line, not one for each attempt of a worker."""
    (tmp_path / "wrong_settings.py").write_text("from engine.settings import *\nASGI_APPLICATION = 'engine.asgi.no'\n")
    variables = {"DJANGO_SETTINGS_MODULE": "wrong_settings", "PYTHONPATH": str(tmp_path)}
    with supervise("idle", **variables) as supervisor:
        _, output = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, output.count("\n")) == (1, 1)
    assert output.startswith('ASGI_APPLICATION: Module "engine.asgi" does not define a "no"')
