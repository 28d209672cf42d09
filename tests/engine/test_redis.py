"""The channel layer on a real Redis, and a server without one."""

import asyncio
import json
import time

import pytest
from channels_redis.utils import create_pool, decode_hosts
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ResponseError

from realtime import conf
from realtime.redis.layer import PipelinedRedisChannelLayer
from realtime.redis.pipeline import Pipeline
from realtime.tasks import TURN

HOSTS = conf.settings.REDIS_HOSTS


@pytest.fixture
async def layer(settings):
    layer = PipelinedRedisChannelLayer(hosts=HOSTS, prefix=f"{settings.REDIS_PREFIX}:")
    yield layer
    await layer.flush()


@pytest.fixture
async def redis(settings):
    redis = Redis.from_pool(create_pool(decode_hosts(HOSTS)[0]))
    yield redis
    await redis.aclose()


async def test_concurrent_commands_share_a_round_trip(redis, settings):
    """Commands run in the order of the calls. One that fails fails alone, and one that is cancelled is not sent."""
    key, pipeline, round_trips = f"{settings.REDIS_PREFIX}:commands", Pipeline(redis), []
    send = pipeline.send

    def record(commands):
        round_trips.append(list(commands))
        return send(round_trips[-1])

    pipeline.send = record
    assert await pipeline.run(("RPUSH", key, "a")) == [1]
    cancelled = asyncio.create_task(pipeline.run(("RPUSH", key, "c")))
    failing = asyncio.create_task(pipeline.run(("INCR", key)))
    pushing = asyncio.create_task(pipeline.run(("RPUSH", key, "b"), ("LRANGE", key, 0, -1)))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await failing
    assert await pushing == [2, [b"a", b"b"]]
    assert await pipeline.run(("DEL", key)) == [1]
    names = [[name for name, *_ in commands] for commands in round_trips]
    assert names == [["RPUSH"], ["INCR", "RPUSH", "LRANGE"], ["DEL"]]


async def test_host_that_hangs_holds_up_commands_for_a_limited_time(redis, settings):
    """Commands on their way end with TimeoutError. The next ones get their own answers."""
    pipeline = Pipeline(redis, patience=0.5)
    hanging = asyncio.create_task(pipeline.run(("BLPOP", f"{settings.REDIS_PREFIX}:none", 5)))
    await asyncio.sleep(0.3)
    assert await pipeline.run(("ECHO", "next")) == [b"next"]
    with pytest.raises(TimeoutError):
        await hanging


async def test_undecodable_bytes_are_dropped(layer):
    """Bytes that are not a layer message are counted, and the next message arrives."""
    before = REGISTRY.get_sample_value("realtime_malformed_total") or 0
    channel = await layer.new_channel()
    await layer._get_shard(channel).publish(channel, b"\xc1")
    await layer.send(channel, {"type": "test.message"})
    assert await layer.receive(channel) == {"type": "test.message"}
    after = REGISTRY.get_sample_value("realtime_malformed_total") or 0
    assert after - before == 1


async def test_new_connection_subscribes_to_a_few_groups_at_a_time(layer, monkeypatch):
    """After a lost connection all groups receive again, and no command subscribes to many of them."""
    channel = await layer.new_channel()
    groups = [f"group-{number}" for number in range(3 * TURN)]
    for group in groups:
        await layer.group_add(group, channel)
    shard = layer._get_shard(channel)
    asked = []

    async def execute_command(*command):
        asked.append(command[1:])
        await PubSub.execute_command(shard._pubsub, *command)

    monkeypatch.setattr(shard._pubsub, "execute_command", execute_command)
    await shard._pubsub.connection.disconnect(nowait=True)
    async with asyncio.timeout(10):
        while sum(map(len, asked)) < len(groups) + 1:
            await asyncio.sleep(0.01)
        for group in groups:
            await layer.group_send(group, {"type": "test.message"})
            assert await layer.receive(channel) == {"type": "test.message"}
    assert max(map(len, asked)) == TURN


async def test_sockets_open_without_redis(open_socket, serve, unused_tcp_port):
    """Clients are served from the database while Redis is down."""
    address, _ = await serve(REDIS_URL=f"redis://127.0.0.1:{unused_tcp_port}/0")
    ann = await open_socket(f"ws://{address}/ws/journal/a/")
    assert json.loads(await ann.recv())["type"] == "welcome"


async def test_connections_of_a_user_are_counted_in_redis(visit, settings):
    """The next connection of a user closes with 4409 until another one ends."""
    settings.REDIS_HOSTS = HOSTS
    sockets = [await visit("/ws/journal/a/") for _ in range(20)]
    assert await (await visit("/ws/journal/a/")).close_code() == 4409
    await sockets[0].disconnect()
    assert (await (await visit("/ws/journal/a/")).receive())["type"] == "welcome"


async def test_killed_process_gives_its_connections_back(open_socket, serve, visit, settings):
    """A user at the limit gets all connections back within five seconds after a server was killed."""
    address, server = await serve()
    for _ in range(20):
        ann = await open_socket(f"ws://{address}/ws/journal/a/")
        assert json.loads(await ann.recv())["type"] == "welcome"
    settings.REDIS_HOSTS = HOSTS
    assert await (await visit("/ws/journal/a/")).close_code() == 4409
    server.kill()
    killed, back = time.monotonic(), 0
    while back < 20:
        message = await (await visit("/ws/journal/a/")).communicator.receive_output(5)
        back += message["type"] == "websocket.send"
        assert time.monotonic() - killed < 5, f"{back} of 20 are back"
        await asyncio.sleep(0.1 if message["type"] == "websocket.close" else 0)
    print(f"back after {time.monotonic() - killed:.1f} s")


async def test_workers_share_a_port(open_socket, serve):
    """Several processes serve one port, and end together with exit code 0."""
    address, server = await serve(WEB_CONCURRENCY="2")
    ann, bob = [await open_socket(f"ws://{address}/ws/journal/a/", name, open_timeout=30) for name in ("ann", "bob")]
    for socket in (ann, bob):
        assert json.loads(await socket.recv())["type"] == "welcome"
    server.terminate()
    assert await asyncio.to_thread(server.wait, 20) == 0
    assert "Traceback" not in server.log.read_text()
