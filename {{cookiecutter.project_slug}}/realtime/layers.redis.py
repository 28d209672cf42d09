"""The channel layer, which carries messages between processes."""

import asyncio
import weakref
from typing import Any
from weakref import WeakKeyDictionary

from channels_redis.pubsub import RedisPubSubChannelLayer
from channels_redis.utils import create_pool
from django.conf import settings
from redis.asyncio import Redis


class PipelinedRedisChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """Channels' own; what is sent to groups at the same time goes to Redis in one go."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pipelines: WeakKeyDictionary[object, Pipeline] = WeakKeyDictionary()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        layer = self._get_layer()
        channel = layer._get_group_channel_name(group)
        shard = layer._get_shard(channel)
        if shard not in self.pipelines:
            self.pipelines[shard] = Pipeline(shard)
        await self.pipelines[shard].publish(channel, self.serialize(message))


class Pipeline:
    """Publishes in the order of the calls, by the connections of one of Channels' shards."""

    def __init__(self, shard: Any) -> None:
        self.shard: Any = weakref.proxy(shard)
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
                self.shard._ensure_redis()
                async with self.shard._redis.pipeline(transaction=False) as pipeline:
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


async def ping() -> None:
    """Raise what the connection raises, unless Redis answers."""
    async with Redis.from_pool(create_pool(settings.REDIS_HOST)) as redis:
        await redis.ping()
