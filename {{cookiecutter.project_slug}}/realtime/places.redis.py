"""How many connections each user has, in all processes together.

Redis keeps a sorted set for each user: the connections, and until when they count. Each process
renews its own, so that those of a process that was killed expire.
"""

import asyncio
import logging
import time
from itertools import batched

from channels_redis.utils import create_pool
from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

LIFETIME_SECONDS = 12
CONNECTIONS = 8  # to Redis at most


class Places:
    """Up to `REALTIME_MAX_CONNECTIONS` for each user; no limit while Redis is away."""

    def __init__(self) -> None:
        self.redis = Redis.from_pool(create_pool(settings.REDIS_HOST))
        self.own: dict[str, str] = {}
        self.free = asyncio.Semaphore(CONNECTIONS)

    async def take(self, user: str, connection: str) -> bool:
        """Whether the connection got a place."""
        now, key = time.time(), self.key(user)
        try:
            async with self.free, self.redis.pipeline() as pipeline:
                pipeline.zremrangebyscore(key, 0, now)
                pipeline.zadd(key, {connection: now + LIFETIME_SECONDS})
                pipeline.zcard(key)
                pipeline.expire(key, LIFETIME_SECONDS)
                count = (await pipeline.execute())[2]
                if count > settings.REALTIME_MAX_CONNECTIONS:
                    await self.redis.zrem(key, connection)
                    return False
        except RedisError as error:
            logger.warning("The connections of a user were not counted: %s", error)
        self.own[connection] = user
        return True

    async def leave(self, user: str, connection: str) -> None:
        self.own.pop(connection, None)
        try:
            async with self.free:
                await self.redis.zrem(self.key(user), connection)
        except RedisError as error:
            logger.warning("A connection was not signed off, and expires: %s", error)

    async def renew(self) -> None:
        """Let the connections of this process count on."""
        until = time.time() + LIFETIME_SECONDS
        for some in batched(list(self.own.items()), 500):
            async with self.free, self.redis.pipeline(transaction=False) as pipeline:
                for connection, user in some:
                    pipeline.zadd(self.key(user), {connection: until})
                    pipeline.expire(self.key(user), LIFETIME_SECONDS)
                await pipeline.execute()

    async def close(self) -> None:
        await self.redis.aclose()

    def key(self, user: str) -> str:
        return f"realtime:connections:{user}"
