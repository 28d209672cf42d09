"""Worker processes are replaced when they die, and stop when told to."""

import os
import signal
import socket
import subprocess
import sys

from config.settings import BASE_DIR


def idle(listener: socket.socket) -> None:
    print(os.getpid(), flush=True)
    signal.pause()


def die(listener: socket.socket) -> None:
    os._exit(3)


def supervise(name: str) -> subprocess.Popen[str]:
    """A process that supervises a worker, which calls a function of this module."""
    code = (
        f"import socket; from config import workers; from tests.test_workers import {name}; "
        f"workers.Supervisor({name}, socket.socket()).run()"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    environment["WEB_CONCURRENCY"] = "1"
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=BASE_DIR, text=True, stdout=-1, stderr=-1
    )


def read_log(supervisor: subprocess.Popen[str]) -> list[str]:
    """What the supervisor logged until its end, without the time."""
    _, output = supervisor.communicate(timeout=60)
    lines = [line.partition(" config.workers: ")[2] for line in output.splitlines()]
    return [line.partition(" [")[0] for line in lines if line]


def test_a_worker_that_is_killed_is_replaced() -> None:
    """One log line, and exit code 0 after SIGTERM."""
    with supervise("idle") as supervisor:
        assert supervisor.stdout is not None
        first = int(supervisor.stdout.readline())
        os.kill(first, signal.SIGKILL)
        assert int(supervisor.stdout.readline()) != first
        supervisor.terminate()
        assert read_log(supervisor) == [f"Worker {first} ended with SIGKILL. Starting another."]
    assert supervisor.returncode == 0


def test_workers_that_keep_dying_end_the_server() -> None:
    """Four are replaced. The fifth death ends it, with exit code 1."""
    with supervise("die") as supervisor:
        *lines, last = read_log(supervisor)
    assert supervisor.returncode == 1
    ends = [line.partition(" ended with ")[2] for line in lines]
    assert ends == ["exit code 3. Starting another."] * 4
    assert last.endswith("Stopping, because 5 workers ended within 60 seconds.")
