"""The channel layer on a real Redis, and without one."""

from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from prometheus_client import REGISTRY
from pytest_django import Settings
from websockets.asyncio.client import connect

from realtime.redis.layer import PipelinedRedisChannelLayer
from tests.conftest import Serve
from tests.people import handshake_headers
from tests.test_live import receive


@pytest.fixture
async def layer(settings: Settings) -> AsyncIterator[PipelinedRedisChannelLayer]:
    layer = PipelinedRedisChannelLayer(
        hosts=settings.REDIS_HOSTS, prefix=f"{settings.REDIS_PREFIX}:"
    )
    yield layer
    await layer.flush()


async def test_bytes_that_are_no_message_are_dropped(layer: PipelinedRedisChannelLayer) -> None:
    """The next message arrives."""
    before = REGISTRY.get_sample_value("realtime_malformed_total") or 0
    channel = await layer.new_channel()
    await layer._get_shard(channel).publish(channel, b"\xc1")
    await layer.send(channel, {"type": "test.message"})
    assert await layer.receive(channel) == {"type": "test.message"}
    after = REGISTRY.get_sample_value("realtime_malformed_total") or 0
    assert after - before == 1


async def test_sockets_open_without_redis(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    """Clients are served from the database until it is there."""
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{unused_tcp_port}/0")
    address, _ = await sync_to_async(serve)("config.server")
    headers = [
        (name.decode(), value.decode())
        for name, value in await sync_to_async(handshake_headers)("ann")
    ]
    async with connect(f"ws://{address}/ws/chat/lobby/", additional_headers=headers) as ann:
        assert (await receive(ann))["type"] == "welcome"
