"""Limits on the frames that one user sends."""

import time

from realtime.conf import settings
from realtime.protocol import Close


class Bucket:
    """Bucket of `REALTIME_BURST` frames that fills again with `REALTIME_RATE` per second."""

    __slots__ = ("__weakref__", "at", "fills", "left")

    def __init__(self) -> None:
        self.left: float = settings.REALTIME_BURST
        self.at = time.monotonic()
        self.fills = 0  # number of times that the bucket was full

    def refill(self) -> None:
        now = time.monotonic()
        self.left += (now - self.at) * settings.REALTIME_RATE
        self.at = now
        if self.left >= settings.REALTIME_BURST:
            self.left = settings.REALTIME_BURST
            self.fills += 1

    def acquire(self) -> bool:
        """Remove one frame from the bucket. Return False if the bucket is empty."""
        self.refill()
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def seconds_until_full(self) -> float:
        return (settings.REALTIME_BURST - self.left) / settings.REALTIME_RATE


class FrameLimit:
    """Limit on the frames of one connection, which shares the bucket of its user.

    Each connection counts its own refused frames. A flood closes the connection that sends it,
    and the user's other connections only get `rate_limited` meanwhile.
    """

    __slots__ = ("bucket", "fills", "refused")

    def __init__(self, bucket: Bucket | None = None) -> None:
        self.bucket = bucket or Bucket()
        self.fills = 0
        self.refused = 0  # since the bucket was full

    def allows(self) -> bool:
        """Count one more frame. Return whether it is within the limit."""
        allowed = self.bucket.acquire()
        if self.fills != self.bucket.fills:
            self.fills = self.bucket.fills
            self.refused = 0
        if not allowed:
            self.refused += 1
        return allowed

    def floods(self) -> bool:
        """Count one more frame. Return whether it is above the limit, and too many were."""
        return not self.allows() and self.is_flooded()

    def is_flooded(self) -> bool:
        """Return whether `REALTIME_MAX_REFUSED` frames were refused."""
        flooded: bool = self.refused >= settings.REALTIME_MAX_REFUSED
        return flooded


class HiddenFrames:
    """Limits on the frames that never become messages: pings, pongs and fragments.

    A server has one for each WebSocket, as the extension `realtime.frames` of its scope. `limit`
    is the user's, once the connection is admitted.
    """

    def __init__(self) -> None:
        self.limit = FrameLimit()
        self.fragments = 0  # of the message that is arriving

    def refuse(self, *, fragment: bool) -> int | None:
        """Count a frame. Return the code to close with if there are too many."""
        self.fragments += fragment
        if self.fragments > settings.REALTIME_MAX_FRAGMENTS:
            return Close.MESSAGE_TOO_BIG
        return Close.FLOODING if self.limit.floods() else None
