"""How many connections each user has, in the one process that there is."""

from collections import Counter

from realtime.conf import settings


class Places:
    """Up to `REALTIME_MAX_CONNECTIONS` for each user."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()

    async def acquire(self, user: str, connection: str) -> bool:
        """Whether the connection got a place."""
        if self.taken[user] >= settings.REALTIME_MAX_CONNECTIONS:
            return False
        self.taken[user] += 1
        return True

    async def release(self, user: str, connection: str) -> None:
        self.taken[user] -= 1
        if not self.taken[user]:
            del self.taken[user]

    async def renew(self) -> None:
        """Nothing expires here."""

    async def close(self) -> None:
        """Nothing is open here."""
