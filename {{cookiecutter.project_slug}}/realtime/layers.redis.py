"""The channel layer, which carries messages between processes."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from channels_redis.pubsub import (
    RedisPubSubChannelLayer,
    RedisPubSubLoopLayer,
    RedisSingleShardConnection,
)
from channels_redis.utils import create_pool
from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

SILENCE_SECONDS = 3  # after a ping, then the subscriptions are made anew


class PipelinedRedisChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """Channels' own; what is sent to groups at the same time goes to Redis in one go."""

    def _get_layer(self) -> RedisPubSubLoopLayer:
        is_new = asyncio.get_running_loop() not in self._layers
        layer = super()._get_layer()
        if is_new:
            layer._shards = [PipelinedShard(shard.host, layer) for shard in layer._shards]
        return layer

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self._get_layer().group_send(group, message)


class PipelinedShard(RedisSingleShardConnection):  # type: ignore[misc]
    """Channels' connections to one host; publishes in the order of the calls."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.waiting: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self.task: asyncio.Task[None] | None = None

    async def publish(self, channel: str, message: bytes) -> None:
        """Return when Redis has it; raises what the connection raises."""
        published = asyncio.get_running_loop().create_future()
        self.waiting.append((channel, message, published))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self.run())
        await published

    async def run(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting, []
            try:
                self._ensure_redis()
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for channel, message, _ in batch:
                        pipeline.publish(channel, message)
                    await pipeline.execute()
            except Exception as error:
                for _, _, published in batch:
                    if not published.done():
                        published.set_exception(error)
            else:
                for _, _, published in batch:
                    if not published.done():
                        published.set_result(None)

    def _ensure_redis(self) -> None:
        if self._redis is None:
            super()._ensure_redis()
            redis: Any = self._redis
            self._pubsub = WatchfulPubSub(redis.connection_pool)


class WatchfulPubSub(PubSub):
    """Connects again when a host is silent, for which redis-py would wait for ever."""

    connection: Any

    async def check_health(self) -> None:
        now, connection = asyncio.get_running_loop().time(), self.connection
        if connection.is_connected and now > connection.next_health_check + SILENCE_SECONDS:
            await connection.disconnect(nowait=True)
        await super().check_health()  # type: ignore[no-untyped-call]


async def ping() -> None:
    """Raise unless every host answers, and say which do not."""
    hosts = settings.REDIS_HOSTS
    answers = await asyncio.gather(*map(ask, hosts), return_exceptions=True)
    away = [
        f"{name(host)} ({answer})"
        for host, answer in zip(hosts, answers, strict=True)
        if isinstance(answer, BaseException)
    ]
    if away:
        raise ConnectionError(f"away: {', '.join(away)}")


async def ask(host: dict[str, Any]) -> None:
    pool = create_pool(host)
    async with AsyncExitStack() as stack:
        if "sentinels" in host:
            await stack.enter_async_context(pool.sentinel_manager)
        redis = await stack.enter_async_context(Redis.from_pool(pool))
        await redis.ping()


def name(host: dict[str, Any]) -> str:
    """How to call a host, without its password."""
    return host.get("master_name") or host.get("path") or f"{host['host']}:{host.get('port', 6379)}"
