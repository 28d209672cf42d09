"""Messages of a server that wait for the application."""

import asyncio
from typing import Any


class MessageQueue:
    """Queue without a limit, which takes three KiB less than asyncio's own."""

    __slots__ = ("messages", "readers")

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.readers: list[asyncio.Future[None]] = []

    def empty(self) -> bool:
        return not self.messages

    def qsize(self) -> int:
        return len(self.messages)

    def put_nowait(self, message: Any) -> None:
        self.messages.append(message)
        for reader in self.readers:
            if not reader.done():
                reader.set_result(None)

    async def get(self) -> Any:
        """Return the next message, as soon as there is one."""
        while not self.messages:
            reader = asyncio.get_running_loop().create_future()
            self.readers.append(reader)
            try:
                await reader
            finally:
                self.readers.remove(reader)
        return self.messages.pop(0)
