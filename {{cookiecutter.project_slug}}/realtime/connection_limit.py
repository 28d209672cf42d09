"""Limit on the connections of each user, counted in the memory of one process."""

from collections import Counter
from typing import TYPE_CHECKING

from realtime.conf import settings

if TYPE_CHECKING:
    from realtime.redis.connection_limit import RedisConnectionLimit


def get_connection_limit() -> "ConnectionLimit | RedisConnectionLimit":
    """Return a new limit, shared with the other processes if `REDIS_HOSTS` is set."""
    if not settings.REDIS_HOSTS:
        return ConnectionLimit()
    from realtime.redis.connection_limit import RedisConnectionLimit

    return RedisConnectionLimit()


class ConnectionLimit:
    """Up to `REALTIME_MAX_CONNECTIONS` for each user, in one process."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    async def acquire(self, user_id: str, connection_id: str) -> bool:
        """Count a connection. Return False if its user has too many."""
        if self.counts[user_id] >= settings.REALTIME_MAX_CONNECTIONS:
            return False
        self.counts[user_id] += 1
        return True

    async def release(self, user_id: str, connection_id: str) -> None:
        """Stop counting a connection that `acquire` counted."""
        self.counts[user_id] -= 1
        if not self.counts[user_id]:
            del self.counts[user_id]

    async def renew(self) -> None:
        """Do nothing: counts in memory do not expire."""

    async def close(self) -> None:
        """Do nothing: no connection to a service is open."""
