"""The channel layer on a real Redis, and a server without one."""

import json

import pytest
from prometheus_client import REGISTRY

from engine.test_checks import found
from realtime.layers import PipelinedRedisChannelLayer


@pytest.fixture
async def layer(settings):
    layer = PipelinedRedisChannelLayer(hosts=settings.REDIS_HOSTS, prefix=f"{settings.REDIS_PREFIX}:")
    yield layer
    await layer.flush()


async def test_undecodable_bytes_are_dropped(layer):
    """Bytes that are no layer message are counted, and the next message arrives."""
    before = REGISTRY.get_sample_value("realtime_malformed_total") or 0
    channel = await layer.new_channel()
    await layer._get_shard(channel).publish(channel, b"\xc1")
    await layer.send(channel, {"type": "test.message"})
    assert await layer.receive(channel) == {"type": "test.message"}
    after = REGISTRY.get_sample_value("realtime_malformed_total") or 0
    assert after - before == 1


async def test_sockets_open_without_redis(open_socket, serve, unused_tcp_port):
    """Clients are served from the database while Redis is down."""
    address, _ = await serve(REDIS_URL=f"redis://127.0.0.1:{unused_tcp_port}/0")
    ann = await open_socket(f"ws://{address}/ws/journal/a/")
    assert json.loads(await ann.recv())["type"] == "welcome"


def test_unavailable_redis_is_an_error(settings, monkeypatch):
    """A channel layer that does not answer is an error with the reason."""

    async def fail():
        raise ConnectionError("refused")

    settings.DEBUG = True
    monkeypatch.setattr("realtime.checks.probe", fail)
    assert found() == {"realtime.E002": "The channel layer does not answer: refused."}
