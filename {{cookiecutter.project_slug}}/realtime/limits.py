"""Bounds what one user can hold open, and what one connection can send."""

import asyncio
import secrets
import time

from django.conf import settings

from realtime import logs
from realtime.asgi import Application, Receive, Scope, Send, refuse, start
from realtime.hub import get_hub
from realtime.protocol import Close


class ConnectionLimit:
    """Closes with 4409 what goes beyond `REALTIME_MAX_CONNECTIONS` of a user."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hub = get_hub()
        user, connection = scope["user"].get_username(), secrets.token_hex(8)
        if not await hub.places.take(user, connection):
            logs.report_close(scope, Close.TOO_MANY_CONNECTIONS)
            return await refuse(Close.TOO_MANY_CONNECTIONS)(scope, receive, send)
        scope["connection"] = connection  # in the copy that AuthMiddleware made
        try:
            await self.inner(scope, receive, send)
        finally:
            await asyncio.shield(start(hub.places.leave(user, connection)))


class FrameLimit:
    """A bucket of `REALTIME_BURST` frames that fills again with `REALTIME_RATE` per second."""

    __slots__ = ("at", "left", "refused")

    def __init__(self) -> None:
        self.left: float = settings.REALTIME_BURST
        self.at = time.monotonic()
        self.refused = 0  # since the bucket was full

    def allows(self) -> bool:
        """Whether one more frame is within the limit."""
        now = time.monotonic()
        self.left += (now - self.at) * settings.REALTIME_RATE
        self.at = now
        if self.left >= settings.REALTIME_BURST:
            self.left = settings.REALTIME_BURST
            self.refused = 0
        if self.left < 1:
            self.refused += 1
            return False
        self.left -= 1
        return True
