"""Runs a server in one process, or in several that share a listening socket."""

import errno
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import django
from django.utils.log import configure_logging
from prometheus_client.multiprocess import mark_process_dead

from config import startup
from realtime.conf import settings

RECEIVE_BYTES = 8 * 1024  # which Linux doubles
UNSENT_BYTES = 16 * 1024
USER_TIMEOUT = 30_000  # milliseconds without an acknowledgement, then the kernel drops a connection
STOP_SECONDS = 14  # kill a worker that takes longer to stop; compose.yaml grants 20
YOUNG_SECONDS = 60  # a worker that ends at this age counts as one that cannot run
MAX_YOUNG_DEATHS = 5  # within YOUNG_SECONDS, then the server ends with 1

logger = logging.getLogger(__name__)

type Serve = Callable[[socket.socket], None]


def run(serve: Serve) -> None:
    """Listen on HOST and PORT, and call `serve` in `WEB_CONCURRENCY` processes.

    With `--exit-with-parent` the server stops when the process that started it has ended.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    exit_on_signals()
    if "--exit-with-parent" in sys.argv:
        watch(wait_for_parent)
    listener = listen()
    if settings.WEB_CONCURRENCY == 1:
        django.setup()
        startup.look()
        serve(listener)
    else:
        Supervisor(serve, listener).run()


def listen() -> socket.socket:
    """Return a socket that listens on HOST and PORT, or exit with the reason."""
    try:
        family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
        listener = socket.create_server((settings.HOST, settings.PORT), family=family, backlog=2048)
    except OSError as error:
        reason, *_ = str(error.strerror).split(" (")
        name, fix = "HOST", "Set an address of this machine, such as HOST=127.0.0.1."
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            name, fix = "PORT", "Choose another, such as PORT=9000."
        sys.exit(f"{name}: cannot listen on {settings.HOST}:{settings.PORT} ({reason}). {fix}")
    # All frames that one read brings are parsed at a stretch, so a flood must come in small reads.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted sockets inherit it on Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
        # Otherwise the kernel queues megabytes for a slow client, and a ping behind them.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return listener


class Supervisor:
    """Keeps the workers running, and stops them at SIGTERM and SIGINT.

    Workers are spawned, not forked: whatever this process opened before, such as an event loop or
    a database connection, would be shared by all of them. It does not set up Django itself.
    """

    def __init__(self, serve: Serve, listener: socket.socket) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.arguments = serve, listener
        self.workers: dict[BaseProcess, float] = {}  # with the time of their start
        self.young_deaths: list[float] = []
        self.deadline: float | None = None  # kill what runs later than this

    def run(self) -> None:
        """Return when all workers have stopped. Exit with 1 if they die again and again."""
        configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
        with tempfile.TemporaryDirectory() as metrics:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics  # where workers add up what they count
            self.look_for_problems()
            self.supervise()
        if len(self.young_deaths) >= MAX_YOUNG_DEATHS:
            sys.exit(1)

    def look_for_problems(self) -> None:
        """Run the startup checks in a process of their own. Exit with its code if that is not 0."""
        process = self.context.Process(target=look, daemon=True)
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)

    def supervise(self) -> None:
        """Start the workers, and return when all have stopped."""
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        try:
            for _ in range(settings.WEB_CONCURRENCY):
                self.start_worker()
            while self.workers:
                self.wait()
        finally:
            self.stop()

    def wait(self) -> None:
        """Wait a second for the end of a worker. After the deadline kill those that are left."""
        sentinels = [worker.sentinel for worker in self.workers]
        multiprocessing.connection.wait(sentinels, timeout=1)
        for worker in [worker for worker in self.workers if not worker.is_alive()]:
            self.bury(worker)
        if self.deadline is not None and time.monotonic() > self.deadline:
            for worker in self.workers:
                worker.kill()

    def start_worker(self) -> None:
        worker = self.context.Process(target=work, args=self.arguments)
        worker.start()
        self.workers[worker] = time.monotonic()
        if self.deadline is not None:
            worker.terminate()  # the signal came while it was being started

    def bury(self, worker: BaseProcess) -> None:
        """Replace a worker that has ended, unless all are to stop."""
        now, started = time.monotonic(), self.workers.pop(worker)
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
        if self.deadline is not None:
            return
        code = worker.exitcode or 0
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self.young_deaths = [at for at in self.young_deaths if now - at < YOUNG_SECONDS]
        if now - started < YOUNG_SECONDS:
            self.young_deaths.append(now)
        if len(self.young_deaths) < MAX_YOUNG_DEATHS:
            logger.error("Worker %s ended with %s. Starting another.", worker.pid, cause)
            self.start_worker()
        else:
            logger.critical(
                "Worker %s ended with %s. Stopping, because %s workers ended within %s seconds.",
                worker.pid,
                cause,
                MAX_YOUNG_DEATHS,
                YOUNG_SECONDS,
            )
            self.stop()

    def stop(self, *_: object) -> None:
        self.deadline = time.monotonic() + STOP_SECONDS
        for worker in list(self.workers):
            worker.terminate()


def look() -> None:
    exit_on_signals()
    django.setup()
    startup.look()


def work(serve: Serve, listener: socket.socket) -> None:
    """Serve in a worker process. Stop when the supervisor has ended, even by SIGKILL."""
    exit_on_signals()
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None
    watch(supervisor.join)
    django.setup()
    serve(listener)


def watch(wait: Callable[[], None]) -> None:
    """Send SIGTERM to this process when `wait` returns in a thread."""

    def stop() -> None:
        wait()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, name="watch", daemon=True).start()


def wait_for_parent() -> None:
    """Return when the parent process has ended, and another has adopted this one."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


def exit_on_signals() -> None:
    """Exit with 0 at SIGTERM and SIGINT.

    Servers handle both while they run. Before and after that, a stop is no failure either.
    """
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: sys.exit(0))
