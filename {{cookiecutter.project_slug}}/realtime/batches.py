"""Group commit: a function that takes one item, made from a function that takes many."""

import asyncio
import logging
import os
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from asgiref.sync import AsyncToSync
from channels.db import database_sync_to_async
from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    OperationalError,
    close_old_connections,
    transaction,
)

from realtime.tasks import TURN
from realtime.threads import keep_connections, refuse_in_event_loop

logger = logging.getLogger(__name__)

MOST = 100  # items of a batch; the others wait for the next one
PATIENCE = 1  # seconds; a batch that the database failed after this time is not tried again
REST = 1  # seconds after such a batch of a database that is down, in which items fail at once

# Those of the process, for its readiness.
ALL: "weakref.WeakSet[Batches]" = weakref.WeakSet()

type Waiting = tuple[Any, Future[Any] | asyncio.Future[Any]]  # an item, and what its caller awaits


def in_batches[Item, Result](
    function: Callable[[list[Item]], Sequence[Result | Exception]],
    using: str = DEFAULT_DB_ALIAS,
    *,
    pause: float = 0,
) -> tuple[Callable[[Item], Result], Callable[[Item], Awaitable[Result]]]:
    """Return two functions that take one item and return its result, for sync and for async code.

    `function` gets the items of concurrent calls together, and returns their results in the same
    order. A result that is an exception is raised for its caller. The function runs in a thread of
    its own and commits its own transaction: if it raises, the halves of the batch are tried, so
    that one bad item fails alone. It must raise nothing after the commit. In an open transaction of
    the caller it is called there with the one item. After each batch the thread waits for `pause`
    seconds, so that more items share the next one.
    """
    batches = Batches(function, using, pause)
    ALL.add(batches)
    return batches.call, batches.acall


def any_rests() -> bool:
    """Return whether the items of some function fail at once after an outage."""
    return any(batches.rests() for batches in ALL)


class Batches:
    """Thread that runs one batch after the other. An item waits for nothing else."""

    def __init__(
        self, function: Callable[[list[Any]], Sequence[Any]], using: str, pause: float
    ) -> None:
        self.function = function
        self.using = using
        self.pause = pause
        self.start()
        if hasattr(os, "register_at_fork"):  # threads and their locks do not survive a fork
            os.register_at_fork(after_in_child=self.start)

    def start(self) -> None:
        self.queue: SimpleQueue[Waiting] = SimpleQueue()
        self.thread: threading.Thread | None = None
        self.starting = threading.Lock()
        self.rests_until = 0.0

    def call(self, item: Any) -> Any:
        """Return the result of one item, for sync code."""
        refuse_in_event_loop("A function of in_batches()", "the async one")
        connection = transaction.get_connection(self.using)
        is_open = connection.connection is not None
        if connection.in_atomic_block or (is_open and not connection.autocommit):
            return unwrap(*self.function([item]))
        future: Future[Any] = Future()
        self.put(item, future)
        return unwrap(future.result())

    async def acall(self, item: Any) -> Any:
        """Return the result of one item, for async code."""
        loop = asyncio.get_running_loop()
        if loop in AsyncToSync.loop_thread_executors:
            # The thread that waits for this loop may have opened a transaction, as in a TestCase.
            return await database_sync_to_async(self.call)(item)
        future = loop.create_future()
        self.put(item, future)
        return unwrap(await future)

    def rests(self) -> bool:
        """Return whether items fail at once, because the database did not answer a moment ago."""
        return time.monotonic() < self.rests_until

    def put(self, item: Any, future: Future[Any] | asyncio.Future[Any]) -> None:
        """Queue an item for the one thread. Raise OperationalError while the database is down.

        Otherwise callers that take turns, such as those of a thread, would each wait for seconds.
        It is not a thread for queries of connections, which may hold up others. An executor would
        take twice the CPU time of this hop.
        """
        if self.rests():
            raise OperationalError("The database did not answer a moment ago.")
        if self.thread is None:
            with self.starting:
                if self.thread is None:
                    thread = threading.Thread(
                        target=self.work, name="realtime-batches", daemon=True
                    )
                    thread.start()
                    self.thread = thread
        self.queue.put((item, future))

    def work(self) -> None:
        keep_connections()
        while True:
            batch = [self.queue.get(), *self.take(MOST - 1)]
            results: Sequence[Any] = [interrupted()] * len(batch)
            start = time.monotonic()
            try:
                results = self.run([item for item, _ in batch])
                now = time.monotonic()
                if now > start + PATIENCE and self.is_down(results[-1]):
                    self.rests_until = now + REST
                    # Those that wait for the database may have waited for seconds, too.
                    batch += self.take(self.queue.qsize())
                close_old_connections()
            except BaseException:
                logger.exception("A batch was interrupted")
            settle(batch, [*results, *[results[-1]] * (len(batch) - len(results))])
            if self.pause:
                time.sleep(self.pause)

    def take(self, most: int) -> list[Waiting]:
        """Return the items that wait, up to a number."""
        taken: list[Waiting] = []
        with suppress(Empty):
            while len(taken) < most:
                taken.append(self.queue.get_nowait())
        return taken

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


def settle(batch: list[Waiting], results: Sequence[Any]) -> None:
    """Wake the callers of a batch. Each event loop is woken once."""
    loops = defaultdict(list)
    for (_, future), result in zip(batch, results, strict=True):
        if isinstance(future, Future):
            future.set_result(result)
        else:
            loops[future.get_loop()].append((future, result))
    for loop, futures in loops.items():
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(set_results, futures)


def set_results(futures: list[tuple[asyncio.Future[Any], Any]]) -> None:
    """Wake a few callers in each turn of the event loop, as each may have much to do."""
    for future, result in futures[:TURN]:
        if not future.done():  # not cancelled
            future.set_result(result)
    if later := futures[TURN:]:
        later[0][0].get_loop().call_soon(set_results, later)


def interrupted() -> Exception:
    return RuntimeError("The batch was interrupted. It may have been committed.")


def unwrap(result: Any) -> Any:
    if isinstance(result, StopIteration):  # no future accepts it
        raise RuntimeError("The function raised StopIteration.") from result
    if isinstance(result, Exception):
        raise result
    return result
