"""How many connections each user has, in all processes together.

One of the hosts keeps a sorted set for each user: the connections, and until when they count. Each
process renews its own, so that those of a process that was killed expire.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import batched

from channels_redis.utils import _consistent_hash, create_pool, decode_hosts
from redis.asyncio import Redis
from redis.exceptions import RedisError

from realtime.conf import settings

logger = logging.getLogger(__name__)

LIFETIME_SECONDS = 12
CONNECTIONS = 8  # to each host at most
PATIENCE = 2  # seconds for a host that hangs


class Places:
    """Up to `REALTIME_MAX_CONNECTIONS` for each user; no limit while the user's host is away."""

    def __init__(self) -> None:
        hosts = decode_hosts(settings.REDIS_HOSTS)
        self.hosts = [Redis.from_pool(create_pool(host)) for host in hosts]
        self.free = [asyncio.Semaphore(CONNECTIONS) for _ in self.hosts]
        self.own: dict[str, str] = {}

    async def acquire(self, user: str, connection: str) -> bool:
        """Whether the connection got a place."""
        now, key = time.time(), self.key(user)
        try:
            async with self.host(self.number(user)) as redis, redis.pipeline() as pipeline:
                pipeline.zremrangebyscore(key, 0, now)
                pipeline.zadd(key, {connection: now + LIFETIME_SECONDS})
                pipeline.zcard(key)
                pipeline.expire(key, LIFETIME_SECONDS)
                count = (await pipeline.execute())[2]
                if count > settings.REALTIME_MAX_CONNECTIONS:
                    await redis.zrem(key, connection)
                    return False
        except (RedisError, TimeoutError) as error:
            logger.warning("The connections of a user were not counted: %r", error)
        self.own[connection] = user
        return True

    async def release(self, user: str, connection: str) -> None:
        self.own.pop(connection, None)
        try:
            async with self.host(self.number(user)) as redis:
                await redis.zrem(self.key(user), connection)
        except (RedisError, TimeoutError) as error:
            logger.warning("A connection was not signed off, and expires: %r", error)

    async def renew(self) -> None:
        """Let the connections of this process count on."""
        shares: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        for connection, user in self.own.items():
            shares[self.number(user)].append((connection, user))
        await asyncio.gather(*(self.renew_share(*share) for share in shares.items()))

    async def renew_share(self, number: int, share: list[tuple[str, str]]) -> None:
        until = time.time() + LIFETIME_SECONDS
        for some in batched(share, 500):
            async with self.host(number) as redis, redis.pipeline(transaction=False) as pipeline:
                for connection, user in some:
                    if connection in self.own:  # it may have left while we waited for the host
                        pipeline.zadd(self.key(user), {connection: until})
                        pipeline.expire(self.key(user), LIFETIME_SECONDS)
                await pipeline.execute()

    async def close(self) -> None:
        for redis in self.hosts:
            await redis.aclose()

    @asynccontextmanager
    async def host(self, number: int) -> AsyncIterator[Redis]:
        """A host, when one of our connections to it is free."""
        async with asyncio.timeout(PATIENCE), self.free[number]:
            yield self.hosts[number]

    def number(self, user: str) -> int:
        """Which host counts the connections of a user."""
        number: int = _consistent_hash(user, len(self.hosts))
        return number

    def key(self, user: str) -> str:
        return f"{settings.REDIS_PREFIX}:connections:{user}"
