"""Password hashing that leaves one core free."""

import os
from threading import BoundedSemaphore
from typing import Any

from django.contrib.auth import hashers

from realtime.auth.throttle import TooManyRequests
from realtime.conf import settings

WAITING = 8  # hashes; `Busy` above this
RETRY_SECONDS = 5

cores = os.cpu_count() or 1
at_once = max(1, (cores - 1) // settings.WEB_CONCURRENCY)
turns = BoundedSemaphore(at_once)
places = BoundedSemaphore(at_once + WAITING)


class Busy(TooManyRequests):
    """Refusal because many others sign in at this moment."""

    status = 503
    reason = "Too many people are signing in"


class BoundedHashing:
    """Mix-in of a hasher: one core stays free, and few threads wait for the others."""

    def encode(self, *args: Any, **kwargs: Any) -> str:
        if not places.acquire(blocking=False):
            raise Busy(RETRY_SECONDS)
        try:
            with turns:
                encoded: str = super().encode(*args, **kwargs)  # type: ignore[misc]
                return encoded
        finally:
            places.release()


class PBKDF2PasswordHasher(BoundedHashing, hashers.PBKDF2PasswordHasher):
    """Django's default hasher, bounded."""
