"""Group commit: a function that takes one item, made from a function that takes many."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import AsyncToSync
from channels.db import database_sync_to_async
from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    OperationalError,
    close_old_connections,
    transaction,
)

from realtime.broadcast import refuse_in_event_loop
from realtime.threads import keep_connections

logger = logging.getLogger(__name__)

MOST = 100  # items of a batch; the others wait for the next one
PATIENCE = 1  # seconds; a batch that the database failed after this time is not tried again

# Items in the order of their calls, each with the future of its caller. The items that are being
# committed come first.
type Queue = list[tuple[Any, Future[Any] | asyncio.Future[Any]]]


def in_batches[Item, Result](
    function: Callable[[list[Item]], Sequence[Result | Exception]], using: str = DEFAULT_DB_ALIAS
) -> tuple[Callable[[Item], Result], Callable[[Item], Awaitable[Result]]]:
    """Return two functions that take one item and return its result, for sync and for async code.

    `function` gets the items of concurrent calls together, and returns their results in the same
    order. A result that is an exception is raised for its caller. The function commits its own
    transaction: if it raises, the halves of the batch are tried, so that one bad item fails alone.
    It must raise nothing after the commit. In an open transaction of the caller it is called with
    the one item.
    """
    batches = Batches(function, using)
    return batches.call, batches.acall


class Batches:
    """Items that wait while others are committed. An item waits for nothing else."""

    def __init__(self, function: Callable[[list[Any]], Sequence[Any]], using: str) -> None:
        self.function = function
        self.using = using
        self.start()
        if hasattr(os, "register_at_fork"):  # threads and their locks do not survive a fork
            os.register_at_fork(after_in_child=self.start)

    def start(self) -> None:
        self.committing = threading.Lock()
        self.queue: Queue = []  # of sync callers
        self.queues: WeakKeyDictionary[asyncio.AbstractEventLoop, Queue] = WeakKeyDictionary()
        self.thread: threading.Thread | None = None
        self.starting = threading.Lock()
        self.jobs: SimpleQueue[tuple[asyncio.AbstractEventLoop, Queue] | None] = SimpleQueue()

    def call(self, item: Any) -> Any:
        """Return the result of one item. The first caller runs the batch, the others wait."""
        refuse_in_event_loop("A function of in_batches()", "the async one")
        connection = transaction.get_connection(self.using)
        is_open = connection.connection is not None
        if connection.in_atomic_block or (is_open and not connection.autocommit):
            return unwrap(*self.function([item]))
        future: Future[Any] = Future()
        self.queue.append((item, future))
        with self.committing:
            while not future.done():
                batch = self.queue[:MOST]
                results: Sequence[Any] = [interrupted()] * len(batch)
                down = False
                try:
                    results = self.run([item for item, _ in batch])
                    down = self.is_down(results[-1])
                finally:
                    settle(self.queue, results, down)
        return unwrap(future.result())

    async def acall(self, item: Any) -> Any:
        """Return the result of one item. Callers wait without a thread."""
        loop = asyncio.get_running_loop()
        if loop in AsyncToSync.loop_thread_executors:
            # The thread that waits for this loop may have opened a transaction, as in a TestCase.
            return await database_sync_to_async(self.call)(item)
        queue = self.queues.setdefault(loop, [])
        future = loop.create_future()
        queue.append((item, future))
        if len(queue) == 1:
            try:
                self.commit(loop, queue)
            except BaseException:  # no thread can be started
                queue.clear()
                raise
        return unwrap(await future)

    def commit(self, loop: asyncio.AbstractEventLoop, queue: Queue) -> None:
        """Start a batch of async calls in the one thread for them.

        It is not a thread for queries of connections, which may hold up others. An executor would
        take twice the CPU time of this hop.
        """
        with self.starting:
            if self.thread is None:
                thread = threading.Thread(target=self.work, name="realtime-batches", daemon=True)
                thread.start()
                self.thread = thread
        self.jobs.put((loop, queue[:MOST]))

    def work(self) -> None:
        keep_connections()
        while (job := self.jobs.get()) is not None:
            loop, batch = job
            results: Sequence[Any] = [interrupted()] * len(batch)
            down = False
            try:
                results = self.run([item for item, _ in batch])
                down = self.is_down(results[-1])
                close_old_connections()
            except BaseException:
                logger.exception("A batch was interrupted")
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self.finish, loop, results, down)

    def finish(self, loop: asyncio.AbstractEventLoop, results: Sequence[Any], down: bool) -> None:
        queue = self.queues[loop]
        settle(queue, results, down)
        if queue:
            self.commit(loop, queue)

    def run(self, items: list[Any]) -> Sequence[Any]:
        """Return the results of a batch. Halve one that fails, if the database answers."""
        start = time.monotonic()
        try:
            results = self.function(items)
        except Exception as error:
            if len(items) == 1 or self.is_unavailable(error, time.monotonic() - start):
                return [error] * len(items)
            half = len(items) // 2
            return [*self.run(items[:half]), *self.run(items[half:])]
        if not isinstance(results, Sequence) or len(results) != len(items):  # stored all the same
            return [ValueError(f"Not a list of {len(items)} results: {results!r:.80}")] * len(items)
        return results

    def is_unavailable(self, error: Exception, seconds: float) -> bool:
        """Return whether the other items would fail too, or may have been committed."""
        slow = isinstance(error, InterfaceError | OperationalError) and seconds > PATIENCE
        return slow or self.is_down(error)

    def is_down(self, result: Any) -> bool:
        """Return whether a result is the error of a database that does not answer."""
        if not isinstance(result, InterfaceError | OperationalError):
            return False
        return not transaction.get_connection(self.using).is_usable()


def settle(queue: Queue, results: Sequence[Any], down: bool) -> None:
    """Wake the callers of a batch, except those that were cancelled.

    If the database is down, wake those that wait for it, too: each may have waited for seconds.
    """
    batch = queue[: None if down else len(results)]
    del queue[: len(batch)]
    results = [*results, *[results[-1]] * (len(batch) - len(results))]
    for (_, future), result in zip(batch, results, strict=True):
        if not future.done():
            future.set_result(result)


def interrupted() -> Exception:
    return RuntimeError("The batch was interrupted. It may have been committed.")


def unwrap(result: Any) -> Any:
    if isinstance(result, StopIteration):  # no future accepts it
        raise RuntimeError("The function raised StopIteration.") from result
    if isinstance(result, Exception):
        raise result
    return result
