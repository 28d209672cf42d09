"""Limits on the connections of each user and of all guests at one address.

They are counted in the memory of one process.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from realtime import logs
from realtime.conf import settings
from realtime.proxy import network_of
from realtime.types import Scope

if TYPE_CHECKING:
    from realtime.redis.connection_limit import RedisConnectionLimit

RENEWAL_BEATS = 4  # renew counts that expire once in this many beats


def limits_of(user_id: str, scope: Scope) -> dict[str, int]:
    """Return what a connection counts for, with the limits: its user, and a guest's address.

    A visitor can become any number of guests, so the address is limited too.
    """
    limits = {user_id: settings.REALTIME_MAX_CONNECTIONS}
    signed_in = getattr(scope.get("user"), "is_authenticated", False)
    if not signed_in and (address := network_of(logs.address(scope))):
        limits[f"guests@{address}"] = settings.REALTIME_MAX_GUESTS
    return limits


def get_connection_limit() -> "ConnectionLimit | RedisConnectionLimit":
    """Return a new limit, shared with the other processes if `REDIS_HOSTS` is set."""
    if not settings.REDIS_HOSTS:
        return ConnectionLimit()
    from realtime.redis.connection_limit import RedisConnectionLimit

    return RedisConnectionLimit()


class ConnectionLimit:
    """Counts of the connections in one process."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    async def acquire(self, limits: Mapping[str, int], connection_id: str) -> bool:
        """Count a connection for each key. Return False if one has reached its limit."""
        if any(self.counts[key] >= limit for key, limit in limits.items()):
            return False
        self.counts.update(limits.keys())
        return True

    async def release(self, keys: Iterable[str], connection_id: str) -> None:
        """Stop counting a connection that `acquire` counted."""
        for key in keys:
            self.counts[key] -= 1
            if not self.counts[key]:
                del self.counts[key]

    async def renew(self) -> None:
        """Do nothing: counts in memory do not expire."""

    async def close(self) -> None:
        """Do nothing: no connection to a service is open."""
