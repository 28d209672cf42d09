"""Tasks that nothing waits for."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)


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
