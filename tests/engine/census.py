"""Census of a server's process: its connections, handlers, sockets and tasks."""

import asyncio
import os
import socket
from contextlib import contextmanager, suppress
from pathlib import Path

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from realtime.conf import settings
from realtime.process import get_process

working = set()  # one object per handler


@contextmanager
def counted():
    """Count a handler until it ends."""
    handler = object()
    working.add(handler)
    try:
        yield
    finally:
        working.discard(handler)


def client_sockets():
    """Return how many sockets of its own port this process holds open."""
    count = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if os.readlink(file).startswith("socket:"):
                with socket.fromfd(int(file.name), socket.AF_INET, socket.SOCK_STREAM) as copy:
                    count += copy.getsockname()[1:2] == (settings.PORT,)
    return count


class CensusConsumer(AsyncJsonWebsocketConsumer):
    """A consumer that answers each frame with the counts of its process."""

    async def receive_json(self, content, **options):
        counts = {
            "connections": len(get_process().connections),
            "handlers": len(working),
            "sockets": client_sockets(),
            "tasks": len(asyncio.all_tasks()),
        }
        await self.send_json(counts)
