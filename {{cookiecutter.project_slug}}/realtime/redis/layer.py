"""Channel layer on Redis, which carries messages between processes."""

import asyncio
import logging
from contextlib import AsyncExitStack
from itertools import batched
from typing import Any
from uuid import uuid4

from channels_redis.pubsub import (
    RedisPubSubChannelLayer,
    RedisPubSubLoopLayer,
    RedisSingleShardConnection,
)
from channels_redis.utils import create_pool, decode_hosts
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from realtime import logs
from realtime.conf import settings
from realtime.malformed import drop
from realtime.redis.pipeline import Pipeline
from realtime.tasks import TURN

HEALTH_CHECK_SECONDS = 5  # ping a host that was silent for this long
SILENCE_SECONDS = 3  # reconnect if the ping is not answered within this time
PATIENCE = 1  # seconds for a subscription, then it continues in the background
RETRY_SECONDS = 1
# Commands of the layer and of the limit on connections.
ACL = "+@connection +@pubsub +@sortedset +set +mget +expire"

logger = logging.getLogger(__name__)


class MalformedMessageError(ValueError):
    """Error of a message that the serializer cannot read."""


class PipelinedRedisChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """Channels' own layer, with one round trip for all that is sent to groups at the same time."""

    def _get_layer(self) -> RedisPubSubLoopLayer:
        is_new = asyncio.get_running_loop() not in self._layers
        layer = super()._get_layer()
        if is_new:
            layer._shards = [PipelinedShard(shard.host, layer) for shard in layer._shards]
        return layer

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self._get_layer().group_send(group, message)

    async def receive(self, channel: str) -> Any:
        """Receive the next message that can be read."""
        while True:
            try:
                return await self._get_layer().receive(channel)
            except MalformedMessageError as error:
                drop(type(error.__cause__).__name__)

    def deserialize(self, message: bytes) -> Any:
        try:
            return super().deserialize(message)
        except Exception as error:  # each serializer raises errors of its own
            raise MalformedMessageError from error


class PipelinedShard(RedisSingleShardConnection):  # type: ignore[misc]
    """Channels' connections to one host, which publish in the order of the calls."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.wanted: set[str] = set()
        self.subscribing: dict[str, asyncio.Task[None]] = {}
        self.is_unavailable = False

    async def publish(self, channel: str, message: bytes) -> None:
        """Return when Redis has the message. Raise the errors of the connection."""
        self._ensure_redis()
        await self.pipeline.run(("PUBLISH", channel, message))

    async def subscribe(self, channel: str) -> None:
        """Subscribe, or keep trying in the background while the host is unavailable."""
        self.wanted.add(channel)
        if channel not in self.subscribing:
            self.subscribing[channel] = asyncio.create_task(self.keep_subscribing(channel))
        task = self.subscribing[channel]
        await asyncio.wait({task}, timeout=PATIENCE)
        if task.done():
            task.result()

    async def keep_subscribing(self, channel: str) -> None:
        try:
            while channel in self.wanted:
                try:
                    await super().subscribe(channel)
                except (RedisError, OSError) as error:
                    if not self.is_unavailable:
                        logger.warning("Cannot subscribe, retrying: %s", error)
                    self.is_unavailable = True
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    self.is_unavailable = False
                    return
        finally:
            del self.subscribing[channel]

    async def unsubscribe(self, channel: str) -> None:
        self.wanted.discard(channel)
        try:
            await super().unsubscribe(channel)
        except (RedisError, OSError):
            self._subscribed_to.discard(channel)  # lost with the connection

    async def flush(self) -> None:
        self.wanted.clear()
        tasks = list(self.subscribing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().flush()

    def _ensure_redis(self) -> None:
        if self._redis is None:
            super()._ensure_redis()
            redis: Any = self._redis
            self.pipeline = Pipeline(redis)
            options = redis.connection_pool.connection_kwargs
            # With 0, which is redis-py's default, a host that is silent would never be noticed.
            if not options.get("health_check_interval"):
                options["health_check_interval"] = HEALTH_CHECK_SECONDS
            self._pubsub = WatchfulPubSub(redis.connection_pool)


class WatchfulPubSub(PubSub):
    """Subscriptions that reconnect if a host is silent. redis-py would wait without a limit."""

    connection: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reads = 0

    async def subscribe(self, *args: Any, **kwargs: Any) -> None:
        """Subscribe to a few channels at a time: a new connection subscribes to all of them."""
        await super().subscribe(*args[:TURN], **kwargs)
        for batch in batched(args[TURN:], TURN):
            await asyncio.sleep(0)
            await super().subscribe(*batch)

    async def parse_response(self, *args: Any, **options: Any) -> Any:
        self.reads += 1
        if self.reads % TURN == 0:
            await asyncio.sleep(0)  # nothing else yields while answers are there
        return await super().parse_response(*args, **options)

    async def on_connect(self, connection: Any) -> None:
        """Subscribe again, except to what is being unsubscribed: redis-py forgets about that."""
        for channel in self.pending_unsubscribe_channels:
            self.channels.pop(channel, None)
        await super().on_connect(connection)

    async def check_health(self) -> None:
        now, connection = asyncio.get_running_loop().time(), self.connection
        if connection.is_connected and now > connection.next_health_check + SILENCE_SECONDS:
            await connection.disconnect(nowait=True)
        await super().check_health()  # type: ignore[no-untyped-call]


async def probe_hosts() -> None:
    """Use every host as the site does. Raise an error that names those that fail.

    Its notes are the fixes. There are no retries, which would be too late to name a cause.
    """
    hosts = decode_hosts(settings.REDIS_HOSTS)
    pools = [create_pool({**host, "retry": Retry(NoBackoff(), 0)}) for host in hosts]
    answers = await asyncio.gather(*map(try_host, pools), return_exceptions=True)
    failed = {
        f"{name(pool)} ({logs.hide(str(answer)).rstrip('.')})": fix(answer)
        for pool, answer in zip(pools, answers, strict=True)
        if isinstance(answer, BaseException)
    }
    if failed:
        error = ConnectionError("; ".join(failed))
        for note in dict.fromkeys(failed.values()):
            error.add_note(note)
        raise error


def fix(error: BaseException) -> str:
    """Return what to do about an error of a host."""
    prefix = settings.REDIS_PREFIX
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            "Add ?ssl_ca_certs=/ca.pem to REDIS_URL, with the path of the certificate's authority, "
            "or of the certificate if it is self-signed. ?ssl_cert_reqs=none trusts any server."
        )
    if isinstance(error, NoPermissionError):
        return (
            "Grant the user of REDIS_URL what the site needs: "
            f"ACL SETUSER user ~{prefix}:* &{prefix}:* {ACL}."
        )
    if isinstance(error, AuthenticationError):
        return "Fix user and password in REDIS_URL, such as redis://user:password@host:6379/0."
    return "Start Redis, or fix REDIS_URL."


async def try_host(pool: ConnectionPool) -> None:
    """Change a key and receive what is published to a channel, both with our prefix.

    PING is not enough: users without permission and read-only replicas answer it too.
    """
    probe = f"{settings.REDIS_PREFIX}:probe.{uuid4().hex}"
    async with AsyncExitStack() as stack:
        if isinstance(pool, SentinelConnectionPool):
            await stack.enter_async_context(pool.sentinel_manager)
        redis = await stack.enter_async_context(Redis.from_pool(pool))
        await redis.zremrangebyscore(probe, 0, 0)
        pubsub = await stack.enter_async_context(redis.pubsub())
        await pubsub.subscribe(probe)
        async for message in pubsub.listen():
            if message["type"] == "message":
                return
            await redis.publish(probe, b"")  # after the answer to SUBSCRIBE


def name(pool: ConnectionPool) -> str:
    """Return the address of a host, without its password."""
    if isinstance(pool, SentinelConnectionPool):
        return str(pool.service_name)
    options = pool.connection_kwargs
    return options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
