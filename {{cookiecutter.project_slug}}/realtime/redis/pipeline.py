"""Commands to a host of Redis, in one round trip for all that wait."""

import asyncio
from collections.abc import Iterable
from itertools import chain, islice, repeat
from typing import Any

from redis.asyncio import Redis

from realtime.tasks import start_apart

BATCH = 100  # calls in one round trip: more would take a long turn of the event loop

type Command = tuple[str | bytes | float, ...]


class Pipeline:
    """Queue of commands, which run in the order of the calls.

    They wait while others are on their way. Raises TimeoutError if the host does not answer within
    `patience` seconds.
    """

    def __init__(self, redis: Redis, patience: float | None = None) -> None:
        self.redis = redis
        self.patience = patience
        self.waiting: list[tuple[tuple[Command, ...], asyncio.Future[list[Any]]]] = []
        self.task: asyncio.Task[None] | None = None

    async def run(self, *commands: Command) -> list[Any]:
        """Return the answers to the commands. Raise the error of one, or of the connection."""
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.waiting.append((commands, answers))
        if self.task is None or self.task.done():
            self.task = start_apart(self.run_waiting())
        async with asyncio.timeout(self.patience):
            return await answers

    async def run_waiting(self) -> None:
        while self.waiting:
            batch = [
                (commands, answers)
                for commands, answers in self.waiting[:BATCH]
                if not answers.done()
            ]
            del self.waiting[:BATCH]
            try:
                found = iter(await self.send(chain(*(commands for commands, _ in batch))))
            except Exception as error:
                found = repeat(error)
            for commands, answers in batch:
                own = list(islice(found, len(commands)))
                errors = [answer for answer in own if isinstance(answer, Exception)]
                if answers.done():
                    continue  # the caller was cancelled
                if errors:
                    answers.set_exception(errors[0])
                else:
                    answers.set_result(own)

    async def send(self, commands: Iterable[Command]) -> list[Any]:
        async with (
            asyncio.timeout(self.patience),
            self.redis.pipeline(transaction=False) as pipeline,
        ):
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)
