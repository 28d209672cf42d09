"""Limits on connections, counted in Redis for all processes.

One host keeps a sorted set for each key: the connections, and the time at which each expires. A
process renews its own. Each process also holds a short lease on every host. If a key has reached
its limit, the connections of processes without a lease are removed first.
"""

import asyncio
import contextvars
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import batched
from typing import Any

from channels_redis.utils import _consistent_hash, create_pool, decode_hosts
from redis.asyncio import Redis
from redis.exceptions import RedisError

from realtime.conf import settings
from realtime.tasks import TURN

logger = logging.getLogger(__name__)

LIFETIME_SECONDS = 60  # a connection that is not renewed for this long expires
LEASE_SECONDS = 2  # a process without a lease for this long is considered dead, where it matters
RENEWAL_SECONDS = 0.5
CONNECTIONS = 8  # to each host at most
PATIENCE = 2  # seconds for a host that hangs


class RedisConnectionLimit:
    """Counts of the connections in all processes.

    While the host of a key is unavailable, the key has no limit.
    """

    def __init__(self) -> None:
        hosts = decode_hosts(settings.REDIS_HOSTS)
        self.hosts = [Redis.from_pool(create_pool(host)) for host in hosts]
        self.free = [asyncio.Semaphore(CONNECTIONS) for _ in self.hosts]
        self.process = secrets.token_hex(4)
        self.lease: asyncio.Task[None] | None = None
        self.own: set[tuple[str, str]] = set()

    async def acquire(self, limits: Mapping[str, int], connection_id: str) -> bool:
        """Count a connection for each key. Return False if one has reached its limit."""
        if self.lease is None:
            self.lease = asyncio.create_task(self.hold_lease(), context=contextvars.Context())
        for key, limit in limits.items():
            if not await self.add(key, connection_id, limit):
                await self.release(limits, connection_id)
                return False
        return True

    async def add(self, key: str, connection_id: str, limit: int) -> bool:
        now, name = time.time(), self.name(key)
        self.own.add((key, connection_id))
        try:
            async with self.host(self.number(key)) as redis, redis.pipeline() as pipeline:
                pipeline.set(self.lease_of(self.process), 1, ex=LEASE_SECONDS)
                pipeline.zremrangebyscore(name, 0, now)
                pipeline.zadd(name, {self.member(connection_id): now + LIFETIME_SECONDS})
                pipeline.zcard(name)
                pipeline.expire(name, LIFETIME_SECONDS)
                count = (await pipeline.execute())[3]
                if count > limit:
                    count -= await self.remove_dead(redis, name)
                return bool(count <= limit)
        except (RedisError, TimeoutError) as error:
            logger.warning("Cannot count the connections of a user: %r", error)
        return True

    async def remove_dead(self, redis: Redis, name: str) -> int:
        """Remove the connections of processes without a lease. Return their number."""
        found: list[Any] = await redis.zrange(name, 0, -1)
        members = [member.decode() for member in found]
        processes = sorted({member.partition(":")[0] for member in members})
        leases = await redis.mget([self.lease_of(process) for process in processes])
        alive = {process for process, lease in zip(processes, leases, strict=True) if lease}
        dead = [member for member in members if member.partition(":")[0] not in alive]
        removed: int = await redis.zrem(name, *dead) if dead else 0
        return removed

    async def release(self, keys: Iterable[str], connection_id: str) -> None:
        """Stop counting a connection that `acquire` counted."""
        for key in keys:
            self.own.discard((key, connection_id))
            try:
                async with self.host(self.number(key)) as redis:
                    await redis.zrem(self.name(key), self.member(connection_id))
            except (RedisError, TimeoutError) as error:
                logger.warning("Cannot release a connection, which expires instead: %r", error)

    async def hold_lease(self) -> None:
        """Renew the lease of this process until the task is cancelled."""
        while True:
            await asyncio.gather(*map(self.renew_lease, range(len(self.hosts))))
            await asyncio.sleep(RENEWAL_SECONDS)

    async def renew_lease(self, number: int) -> None:
        try:
            async with self.host(number) as redis:
                await redis.set(self.lease_of(self.process), 1, ex=LEASE_SECONDS)
        except (RedisError, TimeoutError):
            pass  # reported where a connection is counted

    async def renew(self) -> None:
        """Extend the lifetime of the connections of this process."""
        for batch in batched([*self.own], TURN):
            shares: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
            for key, connection_id in batch:
                shares[self.number(key)].append((key, connection_id))
            await asyncio.gather(*(self.renew_share(*share) for share in shares.items()))

    async def renew_share(self, number: int, share: list[tuple[str, str]]) -> None:
        expires = time.time() + LIFETIME_SECONDS
        async with self.host(number) as redis, redis.pipeline(transaction=False) as pipeline:
            for key, connection_id in share:
                if (key, connection_id) in self.own:  # it may have been released meanwhile
                    pipeline.zadd(self.name(key), {self.member(connection_id): expires})
                    pipeline.expire(self.name(key), LIFETIME_SECONDS)
            await pipeline.execute()

    async def close(self) -> None:
        if self.lease is not None:
            self.lease.cancel()
        for redis in self.hosts:
            await redis.aclose()

    @asynccontextmanager
    async def host(self, number: int) -> AsyncIterator[Redis]:
        """Wait for one of the connections to a host, and yield the host."""
        async with asyncio.timeout(PATIENCE), self.free[number]:
            yield self.hosts[number]

    def number(self, key: str) -> int:
        """Return the number of the host that counts the connections of a key."""
        number: int = _consistent_hash(key, len(self.hosts))
        return number

    def name(self, key: str) -> str:
        return f"{settings.REDIS_PREFIX}:connections:{key}"

    def member(self, connection_id: str) -> str:
        return f"{self.process}:{connection_id}"

    def lease_of(self, process: str) -> str:
        return f"{settings.REDIS_PREFIX}:process:{process}"
