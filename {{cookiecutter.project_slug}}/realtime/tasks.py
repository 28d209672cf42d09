"""Tasks that nothing waits for, and work that leaves the event loop to others in between."""

import asyncio
import contextvars
import logging
import types
from collections.abc import Callable, Coroutine, Generator, Iterable
from functools import partial
from itertools import batched
from typing import Any

logger = logging.getLogger(__name__)

TURN = 20  # groups or connections; yield to the event loop after this many


async def in_turns[T](work: Callable[[T], object], items: Iterable[T]) -> None:
    """Call a function with each item, a few in each turn of the event loop."""
    for batch in batched(items, TURN):
        for item in batch:
            work(item)
        await asyncio.sleep(0)


@types.coroutine
def call_before_waiting[T](
    call: Callable[[], None], work: Coroutine[Any, Any, T]
) -> Generator[Any, Any, T]:
    """Await a coroutine. Call a function, which must not fail, before each wait and error of it."""
    step = partial(work.send, None)
    while True:
        try:
            waits_for = step()
        except StopIteration as end:
            result: T = end.value
            return result
        except BaseException:
            call()
            raise
        call()
        try:
            yield waits_for
        except BaseException as error:  # such as a cancellation
            step = partial(work.throw, error)
        else:
            step = partial(work.send, None)


def start_apart(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task without the context of the connection that is the first one."""
    return asyncio.create_task(work, context=contextvars.Context())


class BackgroundTasks:
    """Tasks in the background, which are kept until they end. Failures are logged."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.discard)
        return task

    def discard(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception():
            logger.warning("The channel layer did not answer: %s", task.exception())

    async def wait(self, seconds: float) -> None:
        """Wait until all tasks have ended, or for this time."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
