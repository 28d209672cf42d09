"""Group commit: a function that takes one item, made from a function that takes many."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import AsyncToSync
from channels.db import database_sync_to_async
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, transaction

from realtime.broadcast import refuse_in_event_loop
from realtime.threads import DatabaseThread

MOST = 100  # items of a batch; the others wait for the next one
PATIENCE = 1  # seconds; a batch that the database failed after this time is not tried again

# Items in the order of their calls, each with the future of its caller. Those of the batch that is
# being committed come first.
type Queue[Item, Result] = list[tuple[Item, Waiting[Result]]]
type Waiting[Result] = Future[Result | Exception] | asyncio.Future[Result | Exception]


def in_batches[Item, Result](
    function: Callable[[list[Item]], Sequence[Result | Exception]], using: str = DEFAULT_DB_ALIAS
) -> tuple[Callable[[Item], Result], Callable[[Item], Awaitable[Result]]]:
    """Return two functions that take one item and return its result, for sync and for async code.

    `function` gets the items of concurrent calls together, and returns their results in the same
    order. A result that is an exception is raised for its caller. The function commits its own
    transaction: if it raises, the halves of the batch are tried, so that one bad item fails alone.
    In an open transaction of the caller it is called with the one item.
    """
    batches = Batches(function, using)
    return batches.call, batches.acall


class Batches[Item, Result]:
    """Items that wait while others are committed. An item waits for nothing else."""

    def __init__(
        self, function: Callable[[list[Item]], Sequence[Result | Exception]], using: str
    ) -> None:
        self.function = function
        self.using = using
        self.start()

    def start(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.queue: Queue[Item, Result] = []  # of sync callers
        self.queues: WeakKeyDictionary[asyncio.AbstractEventLoop, Queue[Item, Result]]
        self.queues = WeakKeyDictionary()
        # A thread of its own, since queries of connections may hold up the others.
        self.thread = DatabaseThread("realtime-batches")

    def call(self, item: Item) -> Result:
        """Return the result of one item. The first caller runs the batch, the others wait."""
        refuse_in_event_loop("A function of in_batches()", "the async one")
        if transaction.get_connection(self.using).in_atomic_block:
            return unwrap(*self.function([item]))
        self.restart_after_fork()
        future: Future[Result | Exception] = Future()
        self.queue.append((item, future))
        with self.lock:
            while not future.done():
                batch = self.queue[:MOST]
                results = self.run([item for item, _ in batch])
                del self.queue[: len(batch)]
                settle(batch, results)
        return unwrap(future.result())

    async def acall(self, item: Item) -> Result:
        """Return the result of one item. Callers wait without a thread."""
        loop = asyncio.get_running_loop()
        if loop in AsyncToSync.loop_thread_executors:
            # The thread that waits for this loop may have opened a transaction, as in a TestCase.
            return await database_sync_to_async(self.call)(item)
        self.restart_after_fork()
        queue = self.queues.setdefault(loop, [])
        future: asyncio.Future[Result | Exception] = loop.create_future()
        queue.append((item, future))
        if len(queue) == 1:
            self.run_next(loop, queue)
        return unwrap(await future)

    def run_next(self, loop: asyncio.AbstractEventLoop, queue: Queue[Item, Result]) -> None:
        batch = queue[:MOST]
        running = loop.run_in_executor(self.thread, self.run, [item for item, _ in batch])
        running.add_done_callback(partial(self.finish, loop, queue, batch))

    def finish(
        self,
        loop: asyncio.AbstractEventLoop,
        queue: Queue[Item, Result],
        batch: Queue[Item, Result],
        running: asyncio.Future[Sequence[Result | Exception]],
    ) -> None:
        del queue[: len(batch)]
        if queue:
            self.run_next(loop, queue)
        settle(batch, running.result())

    def run(self, items: list[Item]) -> Sequence[Result | Exception]:
        """Return the results of a batch. Halve one that fails, if the database answers."""
        start = time.monotonic()
        try:
            results = self.function(items)
            if len(results) != len(items):
                raise ValueError(f"{len(results)} results for {len(items)} items")
            return results
        except Exception as error:
            if len(items) == 1 or self.is_unavailable(error, time.monotonic() - start):
                return [error] * len(items)
        half = len(items) // 2
        return [*self.run(items[:half]), *self.run(items[half:])]

    def is_unavailable(self, error: Exception, seconds: float) -> bool:
        """Return whether the other items would fail too, or may have been committed."""
        if not isinstance(error, InterfaceError | OperationalError):
            return False
        return seconds > PATIENCE or not transaction.get_connection(self.using).is_usable()

    def restart_after_fork(self) -> None:
        if self.process != os.getpid():  # threads do not survive a fork
            self.start()


def settle(batch: Queue[Any, Any], results: Sequence[Any]) -> None:
    """Wake the callers, except those that were cancelled."""
    for (_, future), result in zip(batch, results, strict=True):
        if not future.done():
            future.set_result(result)


def unwrap[Result](result: Result | Exception) -> Result:
    if isinstance(result, Exception):
        raise result
    return result
