"""Limits on connections, counted in Redis for all processes.

One host keeps a sorted set for each key: the connections, and the time at which each expires. A
process renews its own. Each process also holds a short lease on every host. If a key has reached
its limit, the connections of processes without a lease are removed first.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import batched

from channels_redis.utils import _consistent_hash, create_pool, decode_hosts
from redis.asyncio import Redis
from redis.exceptions import RedisError

from realtime.conf import settings
from realtime.redis.pipeline import Command, Pipeline
from realtime.tasks import TURN, start_apart

logger = logging.getLogger(__name__)

LIFETIME_SECONDS = 60  # a connection that is not renewed for this long expires
LEASE_SECONDS = 2  # a process without a lease for this long is considered dead, where it matters
RENEWAL_SECONDS = 0.5
PATIENCE = 2  # seconds for a host that hangs


class RedisConnectionLimit:
    """Counts of the connections in all processes.

    While the host of a key is unavailable, the key has no limit.
    """

    def __init__(self) -> None:
        pools = map(create_pool, decode_hosts(settings.REDIS_HOSTS))
        self.hosts = [Pipeline(Redis.from_pool(pool), PATIENCE) for pool in pools]
        self.process = secrets.token_hex(4)
        self.leases: list[asyncio.Task[None]] = []
        self.own: set[tuple[str, str]] = set()

    async def acquire(self, limits: Mapping[str, int], connection_id: str) -> bool:
        """Count a connection for each key. Return False if one has reached its limit."""
        if not self.leases:
            self.leases += [start_apart(self.hold_lease(host)) for host in self.hosts]
        try:
            for key, limit in limits.items():
                if not await self.add(key, connection_id, limit):
                    await self.release(limits, connection_id)
                    return False
        except asyncio.CancelledError:  # not renewed, so what was counted expires
            self.own -= {(key, connection_id) for key in limits}
            raise
        return True

    async def add(self, key: str, connection_id: str, limit: int) -> bool:
        name, host = self.name(key), self.host(key)
        expires = time.time() + LIFETIME_SECONDS
        self.own.add((key, connection_id))
        try:
            *_, count, _ = await host.run(
                self.renewal(),
                ("ZADD", name, expires, self.member(connection_id)),
                ("ZCARD", name),
                ("EXPIRE", name, LIFETIME_SECONDS),
            )
            if count > limit:
                count -= await self.remove_dead(host, name)
            return bool(count <= limit)
        except (RedisError, TimeoutError) as error:
            logger.warning("Cannot count the connections of a user: %r", error)
        return True

    async def remove_dead(self, host: Pipeline, name: str) -> int:
        """Remove expired connections, and those of dead processes. Return their number."""
        expired, found = await host.run(
            ("ZREMRANGEBYSCORE", name, 0, time.time()), ("ZRANGE", name, 0, -1)
        )
        members = [member.decode() for member in found]
        processes = sorted({member.partition(":")[0] for member in members})
        (leases,) = await host.run(("MGET", *map(self.lease_of, processes)))
        alive = {process for process, lease in zip(processes, leases, strict=True) if lease}
        dead = [member for member in members if member.partition(":")[0] not in alive]
        (removed,) = await host.run(("ZREM", name, *dead)) if dead else (0,)
        return int(expired + removed)

    async def release(self, keys: Iterable[str], connection_id: str) -> None:
        """Stop counting a connection that `acquire` counted."""
        for key in keys:
            self.own.discard((key, connection_id))
            try:
                await self.host(key).run(("ZREM", self.name(key), self.member(connection_id)))
            except (RedisError, TimeoutError) as error:
                logger.warning("Cannot release a connection, which expires instead: %r", error)

    async def hold_lease(self, host: Pipeline) -> None:
        """Renew the lease of this process until the task is cancelled."""
        while True:
            with suppress(RedisError, TimeoutError):  # reported where a connection is counted
                await host.run(self.renewal())
            await asyncio.sleep(RENEWAL_SECONDS)

    async def renew(self) -> None:
        """Extend the lifetime of the connections of this process."""
        await asyncio.gather(*map(self.renew_share, self.hosts))

    async def renew_share(self, host: Pipeline) -> None:
        """Extend the lifetime of those that a host counts. While it is unavailable, none has it."""
        with suppress(RedisError, TimeoutError):
            for batch in batched([*self.own], TURN):
                commands: list[Command] = []
                expires = time.time() + LIFETIME_SECONDS
                for key, connection_id in batch:
                    # It may have been released meanwhile.
                    if self.host(key) is host and (key, connection_id) in self.own:
                        member = self.member(connection_id)
                        commands.append(("ZADD", self.name(key), expires, member))
                        commands.append(("EXPIRE", self.name(key), LIFETIME_SECONDS))
                await host.run(*commands)

    async def close(self) -> None:
        for lease in self.leases:
            lease.cancel()
        for host in self.hosts:
            await host.redis.aclose()

    def host(self, key: str) -> Pipeline:
        """Return the host that counts the connections of a key."""
        number: int = _consistent_hash(key, len(self.hosts))
        return self.hosts[number]

    def name(self, key: str) -> str:
        return f"{settings.REDIS_PREFIX}:connections:{key}"

    def member(self, connection_id: str) -> str:
        return f"{self.process}:{connection_id}"

    def renewal(self) -> Command:
        return "SET", self.lease_of(self.process), 1, "EX", LEASE_SECONDS

    def lease_of(self, process: str) -> str:
        return f"{settings.REDIS_PREFIX}:process:{process}"
