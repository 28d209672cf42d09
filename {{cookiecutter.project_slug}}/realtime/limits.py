"""Limits on what one user holds open and sends."""

import asyncio
import secrets
import time

from realtime import logs
from realtime.conf import settings
from realtime.hub import get_hub
from realtime.protocol import Close, refuse
from realtime.types import Application, Receive, Scope, Send, start


class Bucket:
    """A bucket of `REALTIME_BURST` frames that fills again with `REALTIME_RATE` per second."""

    __slots__ = ("__weakref__", "at", "fills", "left")

    def __init__(self) -> None:
        self.left: float = settings.REALTIME_BURST
        self.at = time.monotonic()
        self.fills = 0  # how often it was full

    def refill(self) -> None:
        now = time.monotonic()
        self.left += (now - self.at) * settings.REALTIME_RATE
        self.at = now
        if self.left >= settings.REALTIME_BURST:
            self.left = settings.REALTIME_BURST
            self.fills += 1

    def take(self) -> bool:
        """Take a frame out of the bucket. Return whether there was one."""
        self.refill()
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def seconds_until_full(self) -> float:
        return (settings.REALTIME_BURST - self.left) / settings.REALTIME_RATE


class FrameLimit:
    """Limit on the frames of one connection, which shares the bucket of its user.

    Each connection counts its own refused frames. So the one that floods is closed, and the
    user's others are only told `rate_limited` meanwhile.
    """

    __slots__ = ("bucket", "fills", "refused")

    def __init__(self, bucket: Bucket | None = None) -> None:
        self.bucket = bucket or Bucket()
        self.fills = 0
        self.refused = 0  # since the bucket was full

    def allows(self) -> bool:
        """Count one more frame. Return whether it is within the limit."""
        allowed = self.bucket.take()
        if self.fills != self.bucket.fills:
            self.fills = self.bucket.fills
            self.refused = 0
        if not allowed:
            self.refused += 1
        return allowed


class ConnectionLimit:
    """Limits each user to `REALTIME_MAX_CONNECTIONS`, above which it closes with 4409.

    All connections of a user in this process share one bucket of frames.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hub = get_hub()
        user, connection = scope["user"].get_username(), secrets.token_hex(8)
        if not await hub.connection_limit.acquire(user, connection):
            logs.report_close(scope, Close.TOO_MANY_CONNECTIONS)
            return await refuse(Close.TOO_MANY_CONNECTIONS)(scope, receive, send)
        bucket = hub.buckets.setdefault(user, Bucket())
        # Set in the copy that AuthMiddleware made.
        scope["connection"] = connection
        scope["frame_limit"] = limit = FrameLimit(bucket)
        # The server counts the frames that never become messages, such as pings.
        if frames := scope.get("extensions", {}).get("realtime.frames"):
            frames["limit"] = limit
        try:
            await self.inner(scope, receive, send)
        finally:
            if limit.refused >= settings.REALTIME_MAX_REFUSED:
                logs.report_close(scope, Close.FLOODING)
            # Keep the bucket until it is full: a new connection is no new burst.
            delay = bucket.seconds_until_full()
            asyncio.get_running_loop().call_later(delay, bucket.refill)
            await asyncio.shield(start(hub.connection_limit.release(user, connection)))
