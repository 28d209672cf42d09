"""Lets the sync code of different connections run side by side."""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

from asgiref.sync import ThreadSensitiveContext
from django.conf import settings

from realtime.asgi import Application, Receive, Scope, Send


class ThreadPool:
    """Gives each connection one of `REALTIME_THREADS` threads for its sync handlers and queries.

    By default Channels runs the sync code of all connections on a single thread, one after another.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner
        self.executors = cycle(
            [
                ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"realtime-{number}")
                for number in range(settings.REALTIME_THREADS)
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with ThreadSensitiveContext(executor=next(self.executors)):
            await self.inner(scope, receive, send)
