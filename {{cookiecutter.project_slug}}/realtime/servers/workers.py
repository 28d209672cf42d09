"""Server processes: one, or several that share a listening socket."""

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
from prometheus_client.multiprocess import mark_process_dead

from realtime import servers, startup
from realtime.conf import settings

RECEIVE_BYTES = 8 * 1024  # doubled by Linux
UNSENT_BYTES = 16 * 1024
USER_TIMEOUT = 30_000  # milliseconds without an acknowledgement, then the kernel disconnects
STOP_SECONDS = 14  # kill a worker that takes longer to stop; a supervisor must grant more
YOUNG_SECONDS = 60  # a worker that ends before this age counts as a failure
MAX_FAILURES = 5  # within YOUNG_SECONDS; exit with 1 at this number

logger = logging.getLogger(__name__)

type Serve = Callable[[socket.socket], None]


def run(*, exit_with_parent: bool = False) -> None:
    """Serve ASGI_APPLICATION on HOST and PORT, in WEB_CONCURRENCY processes."""
    exit_on_signals()
    if exit_with_parent:
        stop_after(wait_for_parent)
    listener = listen(settings.HOST, settings.PORT)
    if settings.WEB_CONCURRENCY == 1:
        startup.check(processes=1, host=settings.HOST)
        serve(listener)
    else:
        Supervisor(serve, listener).run()


def serve(listener: socket.socket) -> None:
    servers.serve(servers.load_application(), listener)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address, or exit with the reason."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # `::` is every address, of IPv4 too, wherever the system can do both.
        both = host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(
            (host, port), family=family, backlog=2048, dualstack_ipv6=both
        )
    except OSError as error:
        reason, *_ = str(error.strerror).split(" (")
        name, fix = "HOST", "Set an address of this machine, such as HOST=127.0.0.1."
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            name, fix = "PORT", "Choose another, such as PORT=9000."
        sys.exit(f"{name}: cannot listen on {host}:{port} ({reason}). {fix}")
    except OverflowError:
        sys.exit(f"PORT: {port} is not between 0 and 65535. Choose another, such as PORT=9000.")
    # Servers parse all frames of one read at a stretch. Small reads limit what a flood delays.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted sockets inherit it on Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
        # Otherwise the kernel queues megabytes for a slow client, and a ping behind them.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return listener


class Supervisor:
    """Parent of the workers, which replaces those that die.

    Workers are spawned, not forked, so that they share no event loop or database connection.
    """

    def __init__(self, serve: Serve, listener: socket.socket) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.arguments = serve, listener
        self.workers: dict[BaseProcess, float] = {}  # with the time of their start
        self.failures: list[float] = []
        self.deadline: float | None = None  # kill workers that run longer than this

    def run(self) -> None:
        """Return when all workers have stopped. Exit with 1 if they keep dying."""
        with tempfile.TemporaryDirectory() as metrics:
            # prometheus_client reads it when a worker imports it.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
            self.check()
            self.supervise()
        if len(self.failures) >= MAX_FAILURES:
            sys.exit(1)

    def check(self) -> None:
        """Run the startup checks in a child process. Exit with its code if that is not 0."""
        process = self.context.Process(target=check, daemon=True)
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)

    def supervise(self) -> None:
        """Start the workers, and return when all have stopped."""
        servers.on_stop(self.stop)
        try:
            for _ in range(settings.WEB_CONCURRENCY):
                self.start_worker()
            while self.workers:
                self.wait()
        finally:
            self.stop()

    def wait(self) -> None:
        """Wait up to a second for a worker to end. After the deadline, kill those that are left."""
        sentinels = [worker.sentinel for worker in self.workers]
        multiprocessing.connection.wait(sentinels, timeout=1)
        for worker in [worker for worker in self.workers if not worker.is_alive()]:
            self.replace(worker)
        if self.deadline is not None and time.monotonic() > self.deadline:
            for worker in self.workers:
                worker.kill()

    def start_worker(self) -> None:
        worker = self.context.Process(target=work, args=self.arguments)
        worker.start()
        self.workers[worker] = time.monotonic()
        if self.deadline is not None:
            worker.terminate()  # the signal arrived during the start

    def replace(self, worker: BaseProcess) -> None:
        """Start another worker for one that has ended, unless the server is stopping."""
        now, started = time.monotonic(), self.workers.pop(worker)
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
        if self.deadline is not None:
            return
        code = worker.exitcode or 0
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self.failures = [at for at in self.failures if now - at < YOUNG_SECONDS]
        if now - started < YOUNG_SECONDS:
            self.failures.append(now)
        if len(self.failures) < MAX_FAILURES:
            logger.error("Worker %s ended with %s. Starting another.", worker.pid, cause)
            self.start_worker()
        else:
            logger.critical(
                "Worker %s ended with %s. Stopping, because %s workers ended within %s seconds.",
                worker.pid,
                cause,
                MAX_FAILURES,
                YOUNG_SECONDS,
            )
            self.stop()

    def stop(self, *_: object) -> None:
        self.deadline = time.monotonic() + STOP_SECONDS
        for worker in list(self.workers):
            worker.terminate()


def check() -> None:
    """Run the startup checks in a child process of the supervisor."""
    exit_on_signals()
    django.setup()
    servers.load()
    servers.load_application()
    startup.check(processes=settings.WEB_CONCURRENCY, host=settings.HOST)


def work(serve: Serve, listener: socket.socket) -> None:
    """Serve in a worker. Stop when the supervisor has ended, even by SIGKILL."""
    exit_on_signals()
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None
    stop_after(supervisor.join)
    django.setup()
    serve(listener)


def stop_after(wait: Callable[[], None]) -> None:
    """Send SIGTERM to this process when `wait` returns in a thread."""

    def stop() -> None:
        wait()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, name="stop-after", daemon=True).start()


def wait_for_parent() -> None:
    """Return when the parent process has ended, and another process has adopted this one."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


def exit_on_signals() -> None:
    """Exit with 0 at SIGTERM and SIGINT. Servers replace these handlers while they run.

    SystemExit would be lost if a signal arrives in the callback of a weak reference.
    """
    servers.on_stop(lambda *_: servers.exit_now())
