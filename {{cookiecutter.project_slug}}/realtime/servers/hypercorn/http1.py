"""HTTP/1.1 of hypercorn, with limits on the size and the time of each request."""

import asyncio
from typing import Any

import h11
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol

from realtime.conf import settings


class Http1(H11Protocol):
    """HTTP/1.1 connection with limits on each head, which never becomes HTTP/2."""

    deadline: asyncio.TimerHandle | None = None  # of the head that is arriving

    async def handle(self, event: Any) -> None:
        if isinstance(event, Closed):
            self.head_ends()
        elif event.data and self.is_idle():
            event = RawData(event.data.lstrip(b"\r\n"))  # RFC 9112, section 2.2
            if not event.data:
                return
            await self.send(Updated(idle=False))
            seconds, loop = settings.SERVER_HEAD_SECONDS, asyncio.get_running_loop()
            self.deadline = loop.call_later(seconds, self.task_group.spawn, self.refuse, 408)
        await super().handle(event)

    def is_idle(self) -> bool:
        return (self.stream, self.deadline, self.connection.trailing_data[0]) == (None, None, b"")

    def head_ends(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore `Upgrade: h2c`: through a proxy it would reach every path unchecked."""

    async def _create_stream(self, request: h11.Request) -> None:
        self.head_ends()
        fields = request.headers.raw_items()
        size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in fields)
        if request.http_version == b"2.0":
            await self.refuse(505)
        elif size > settings.SERVER_MAX_HEAD_BYTES:
            await self.refuse(431)
        elif any(
            name == b"content-length" and int(value) > settings.SERVER_MAX_BODY_BYTES
            for name, value in request.headers
        ):
            await self.refuse(413)  # before h11 asks for the body with 100
        else:
            await super()._create_stream(request)

    async def refuse(self, status: int) -> None:
        """Answer with a status and close, unless a response has begun."""
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(status)
        await self.send(Closed())
