"""Limit on the connections of each user, counted in Redis for all processes.

One host keeps a sorted set for each user: the ids of the connections, and the time at which each
expires. A process renews its own, so that those of a killed process expire.
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

LIFETIME_SECONDS = 12  # a connection that is not renewed for this long expires
CONNECTIONS = 8  # to each host at most
PATIENCE = 2  # seconds for a host that hangs


class RedisConnectionLimit:
    """Up to `REALTIME_MAX_CONNECTIONS` for each user, in all processes.

    While the host of a user is unavailable, that user has no limit.
    """

    def __init__(self) -> None:
        hosts = decode_hosts(settings.REDIS_HOSTS)
        self.hosts = [Redis.from_pool(create_pool(host)) for host in hosts]
        self.free = [asyncio.Semaphore(CONNECTIONS) for _ in self.hosts]
        self.own: dict[str, str] = {}

    async def acquire(self, user_id: str, connection_id: str) -> bool:
        """Count a connection. Return False if its user has too many."""
        now, key = time.time(), self.key(user_id)
        try:
            async with self.host(self.number(user_id)) as redis, redis.pipeline() as pipeline:
                pipeline.zremrangebyscore(key, 0, now)
                pipeline.zadd(key, {connection_id: now + LIFETIME_SECONDS})
                pipeline.zcard(key)
                pipeline.expire(key, LIFETIME_SECONDS)
                count = (await pipeline.execute())[2]
                if count > settings.REALTIME_MAX_CONNECTIONS:
                    await redis.zrem(key, connection_id)
                    return False
        except (RedisError, TimeoutError) as error:
            logger.warning("Cannot count the connections of a user: %r", error)
        self.own[connection_id] = user_id
        return True

    async def release(self, user_id: str, connection_id: str) -> None:
        """Stop counting a connection that `acquire` counted."""
        self.own.pop(connection_id, None)
        try:
            async with self.host(self.number(user_id)) as redis:
                await redis.zrem(self.key(user_id), connection_id)
        except (RedisError, TimeoutError) as error:
            logger.warning("Cannot release a connection, which expires instead: %r", error)

    async def renew(self) -> None:
        """Extend the lifetime of the connections of this process."""
        shares: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        for connection_id, user_id in self.own.items():
            shares[self.number(user_id)].append((connection_id, user_id))
        await asyncio.gather(*(self.renew_share(*share) for share in shares.items()))

    async def renew_share(self, number: int, share: list[tuple[str, str]]) -> None:
        expires = time.time() + LIFETIME_SECONDS
        for batch in batched(share, 500):
            async with self.host(number) as redis, redis.pipeline(transaction=False) as pipeline:
                for connection_id, user_id in batch:
                    if connection_id in self.own:  # it may have been released meanwhile
                        pipeline.zadd(self.key(user_id), {connection_id: expires})
                        pipeline.expire(self.key(user_id), LIFETIME_SECONDS)
                await pipeline.execute()

    async def close(self) -> None:
        for redis in self.hosts:
            await redis.aclose()

    @asynccontextmanager
    async def host(self, number: int) -> AsyncIterator[Redis]:
        """Wait for one of the connections to a host, and yield the host."""
        async with asyncio.timeout(PATIENCE), self.free[number]:
            yield self.hosts[number]

    def number(self, user_id: str) -> int:
        """Return the number of the host that counts the connections of a user."""
        number: int = _consistent_hash(user_id, len(self.hosts))
        return number

    def key(self, user_id: str) -> str:
        return f"{settings.REDIS_PREFIX}:connections:{user_id}"
