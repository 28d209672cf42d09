"""Threads for the sync code of connections, so that it runs concurrently."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from typing import Any

from asgiref.sync import AsyncToSync, ThreadSensitiveContext
from django.db import close_old_connections, connections

from realtime.conf import settings
from realtime.types import Application, Receive, Scope, Send


class DatabaseThread(ThreadPoolExecutor):
    """Executor of one thread, which closes old database connections after each call."""

    def __init__(self, name: str) -> None:
        super().__init__(max_workers=1, thread_name_prefix=name, initializer=keep_connections)

    def submit[T](self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        def call() -> T:
            try:
                return function(*args, **kwargs)
            finally:
                close_old_connections()

        return super().submit(call)


def keep_connections() -> None:
    """Keep the database connections of this thread open, unless a pool does."""
    for connection in connections.all():
        if "pool" not in connection.settings_dict["OPTIONS"]:
            connection.settings_dict = {**connection.settings_dict, "CONN_MAX_AGE": 600}


def close_connections() -> None:
    """Close the connections of this thread, or return them to a pool, except in a transaction."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def refuse_in_event_loop(name: str, fix: str) -> None:
    """Raise RuntimeError in an event loop, where waiting for the sockets' loop may never end.

    Django itself refuses only queries there, and none with `DJANGO_ALLOW_ASYNC_UNSAFE`.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{name} blocks, and was called in an event loop. Use {fix}.")


class ThreadPool:
    """Middleware that runs the sync code of a connection in one of `REALTIME_THREADS` threads.

    By default Channels runs the sync code of all connections on a single thread, one after another.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner
        self.start()

    def start(self) -> None:
        self.process = os.getpid()
        self.threads = cycle(
            [DatabaseThread(f"realtime-{number}") for number in range(settings.REALTIME_THREADS)]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if asyncio.get_running_loop() in AsyncToSync.loop_thread_executors:
            # A test of Django's: its transaction is open in the thread that waits for this loop.
            return await self.inner(scope, receive, send)
        if self.process != os.getpid():  # threads do not survive a fork
            self.start()
        async with ThreadSensitiveContext(executor=next(self.threads)):
            await self.inner(scope, receive, send)
