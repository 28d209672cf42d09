"""Channel layer on a Redis of the tests: hosts, malformed messages, permissions, a late start."""

import contextlib
import itertools
import json
import re
import subprocess
import sys
import tarfile
import time

import pytest
from filelock import FileLock
from support.client import Person, hears, receive, send
from support.emitted import BUILD, bake, clean_environ, environ_for, run
from support.matrix import CHOICES, PYTHONS, TEMPLATE, combinations, label, spread
from support.servers import Redis, Sentinel, start_site, wait_until

SERVER = ["uv", "run", "python", "manage.py", "serve"]
MANAGE = ["uv", "run", "python", "manage.py"]
LAYER = "PipelinedRedisChannelLayer"
PREFIX = "site"
CATCHING_UP = 10  # seconds until lost messages are read from the database
PASSWORD = "sesame"

refs = map(str, itertools.count())


@pytest.fixture
def own_redis(tmp_path):
    """A Redis that the test starts and changes."""
    redis = Redis(tmp_path)
    yield redis
    if hasattr(redis, "process"):
        redis.stop()


@pytest.fixture
def prepare(cookies, environment):
    """Return a function for a project with these answers, and the variables of its processes."""

    def prepare(answers, url):
        project = bake(cookies, channel_layer="redis", **answers)
        python = environment(PYTHONS[-1], CHOICES["django_version"][0])
        environ = environ_for(python, REDIS_URL=url, REDIS_PREFIX=PREFIX)
        run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
        return project, environ

    return prepare


# The tests of channels_redis


@pytest.fixture
def distribution(environment):
    """Unpack the source distribution of the installed channels_redis, next to the packages that its tests need."""
    python = environment(PYTHONS[-1], CHOICES["django_version"][0]) / "bin" / "python"
    code = "from importlib.metadata import version; print(version('channels_redis'))"
    version = run([str(python), "-c", code], TEMPLATE, clean_environ()).strip()
    folder = BUILD / f"channels_redis-{version}"
    with FileLock(BUILD / "channels_redis.lock"):
        if not folder.exists():
            new = BUILD / "channels_redis.new"
            download = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--no-binary",
                "channels_redis",
            ]
            run([*download, "--dest", str(new), f"channels_redis=={version}"], TEMPLATE, clean_environ())
            install = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(new / "packages")]
            run([*install, "async-timeout>=5,<6", "pytest-timeout>=2.4,<3"], TEMPLATE, clean_environ())
            (archive,) = new.glob("*.tar.gz")
            with tarfile.open(archive) as files:
                files.extractall(new, filter="data")
            new.rename(folder)
    return folder, folder / f"channels_redis-{version}"


@pytest.mark.parametrize("name", ["test_pubsub.py", "test_pubsub_sentinel.py"])
def test_tests_of_channels_redis_pass(name, distribution, prepare, environment, own_redis, tmp_path):
    """The tests of channels_redis pass with our class and our Redis in place of theirs."""
    own_redis.start()
    downloaded, source = distribution
    sentinel = Sentinel(tmp_path, own_redis, password="channels_redis", name="sentinel", quorum=1)
    sentinel.start()
    changes = {
        "from channels_redis.pubsub import RedisPubSubChannelLayer": (
            f"from realtime.redis.layer import {LAYER} as RedisPubSubChannelLayer"
        ),
        "redis://localhost:6379": own_redis.url,
        '("localhost", 26379)': f'("127.0.0.1", {sentinel.port})',
    }
    text = (source / "tests" / name).read_text()
    assert [text.count(old) for old in changes] == ([1, 1, 0] if name == "test_pubsub.py" else [1, 0, 1])
    for old, new in changes.items():
        text = text.replace(old, new)
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.joinpath(name).write_text(text)
    folder.joinpath("setup.cfg").write_text((source / "setup.cfg").read_text())
    project, environ = prepare({}, f"{own_redis.url}/0")
    environ |= {
        "PYTHONPATH": f"{project}:{downloaded / 'packages'}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    python = environment(PYTHONS[-1], CHOICES["django_version"][0]) / "bin" / "python"
    try:
        output = run([str(python), "-m", "pytest", "-p", "no:cacheprovider", name], folder, environ)
    finally:
        sentinel.stop()
    summary = output.strip().splitlines()[-1]
    assert " passed" in summary
    assert not re.search("skipped|xfailed|xpassed|error", summary), output


# Hosts

FORMS = [
    '("127.0.0.1", PORT)',
    '["127.0.0.1", PORT]',
    '"redis://127.0.0.1:PORT"',
    '"redis://127.0.0.1:PORT/1?health_check_interval=0"',
    '{"host": "127.0.0.1", "port": PORT}',
    '{"host": "127.0.0.1", "port": PORT, "protocol": 2}',
    '{"address": "redis://127.0.0.1:PORT", "health_check_interval": 0}',
]
SCRIPT = """
import asyncio, json
from django.test import override_settings
from realtime.connection_limit import get_connection_limit
from realtime.layers import probe
from realtime.redis.layer import PipelinedRedisChannelLayer

async def count(host):
    with override_settings(REDIS_HOSTS=[host]):
        await probe()
        limit = get_connection_limit()
        counted = [await limit.acquire({str(host): 10}, str(number)) for number in range(11)]
    await limit.close()
    return counted

async def talk(host):
    layer = PipelinedRedisChannelLayer(hosts=[host], prefix="site:")
    channel, group = await layer.new_channel(), str(id(host))
    await layer.group_add(group, channel)
    received = []
    for number in range(30):
        await layer.group_send(group, {"type": "test", "number": number})
        received.append((await asyncio.wait_for(layer.receive(channel), 5))["number"])
        await asyncio.sleep(0.1)
    await layer.flush()
    return received

async def main(*hosts):
    taken = [await count(host) for host in hosts]
    print(json.dumps([taken, await asyncio.gather(*map(talk, hosts))]))

asyncio.run(main(%s))
"""


def test_hosts_in_all_forms(prepare, own_redis):
    """Every message arrives over a few lasting connections, and the probe and the counters use the same hosts."""
    own_redis.start()
    project, environ = prepare({}, f"{own_redis.url}/0")
    before = connections(own_redis)
    code = SCRIPT % ", ".join(FORMS).replace("PORT", str(own_redis.port))
    taken, received = json.loads(run([*MANAGE, "shell", "--no-imports", "-c", code], project, environ))
    assert taken == [[True] * 10 + [False]] * len(FORMS)
    assert received == [list(range(30))] * len(FORMS)
    assert connections(own_redis) - before < 10 * len(FORMS)


SILENCE = """
import asyncio, os, signal
from realtime.redis.layer import PipelinedRedisChannelLayer

async def main(pid, host):
    layer = PipelinedRedisChannelLayer(hosts=[host], prefix="site:")
    channel = await layer.new_channel()
    pubsub = layer._shards[0]._pubsub
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            while pubsub.connection.is_connected:
                await asyncio.sleep(0.01)
    finally:
        os.kill(pid, signal.SIGCONT)
    message = None
    async with asyncio.timeout(30):
        while message is None:
            try:
                await layer.send(channel, {"type": "test"})
                message = await asyncio.wait_for(layer.receive(channel), 1)
            except Exception:
                channel = await layer.new_channel()  # receive() discards it when it is cancelled
    await layer.flush()

asyncio.run(main(%d, %s))
"""


@pytest.mark.parametrize("host", [FORMS[0], FORMS[3]], ids=["tuple", "without-checks"])
def test_silent_host_is_noticed(host, prepare, own_redis):
    """The layer drops a silent connection, and subscribes again when the host answers."""
    own_redis.start()
    project, environ = prepare({}, f"{own_redis.url}/0")
    code = SILENCE % (own_redis.process.pid, host.replace("PORT", str(own_redis.port)))
    run([*MANAGE, "shell", "--no-imports", "-c", code], project, environ)


def test_rooms_that_are_left_without_redis_are_not_subscribed_to_again(prepare, own_redis):
    """Redis delivers nothing to a process without members."""
    own_redis.start()
    project, environ = prepare({"auth": "none"}, f"{own_redis.url}/0")
    with start_site(SERVER, project, environ) as site:
        ann, ben = Person(site, "none"), Person(site, "none")
        with ann.connect("stays") as one, ben.connect("stays") as other:
            with ann.connect("left") as left:
                assert [receive(socket)["type"] for socket in (one, other, left)] == ["welcome"] * 3
                # The process, all processes, two rooms and their presence. A room that was left ends with a beat.
                wait_until(lambda: len(subscriptions(own_redis)) == 6, "no other room is subscribed to", 10)
                own_redis.stop()
            time.sleep(7)  # until the room is left, with the next beat
            own_redis.start()
            wait_until(lambda: hear_each_other(one, other), "the sockets are live", 15)
            assert len(subscriptions(own_redis)) == 4


def subscriptions(redis):
    return [line for line in redis.ask("PUBSUB CHANNELS *").splitlines() if f"{PREFIX}:" in line]


def connections(redis):
    """Return the number of connections that a host has accepted."""
    return int(re.search(r"total_connections_received:(\d+)", redis.ask("INFO stats"))[1])


def test_site_without_health_checks(prepare, own_redis):
    """If the URL disables health checks, users still chat, and connections to Redis last."""
    own_redis.start()
    project, environ = prepare({"auth": "none"}, f"{own_redis.url}/0?health_check_interval=0")
    with start_site(SERVER, project, environ) as site:
        ann, ben = Person(site, "none"), Person(site, "none")
        with ann.connect("lobby") as one, ben.connect("lobby") as other:
            assert [receive(socket)["type"] for socket in (one, other)] == ["welcome"] * 2
            before = connections(own_redis)
            deadline = time.monotonic() + 7
            while time.monotonic() < deadline:
                assert hears(one, other, next(refs))
                time.sleep(0.2)
            assert connections(own_redis) - before < 10


# Malformed messages


def test_malformed_messages_delay_no_one(prepare, own_redis):
    """While malformed messages fill all channels, users chat. Each message is counted, and few are logged."""
    own_redis.start()
    project, environ = prepare({"auth": "none"}, f"{own_redis.url}/0")
    with start_site(SERVER, project, environ) as site:
        ann, ben = Person(site, "none"), Person(site, "none")
        with ann.connect("lobby") as one, ben.connect("lobby") as other:
            assert [receive(socket)["type"] for socket in (one, other)] == ["welcome"] * 2
            assert hears(one, other, next(refs))
            channels = subscriptions(own_redis)
            assert len(channels) == 4, channels  # process, all processes, the room and its presence
            published = 0
            for _ in range(5):
                for garbage in (r'"\xc1"', '"x"', r'"\x81\xa4type\x01"', '""', r'"\x80"'):
                    own_redis.ask(*(f"PUBLISH {channel} {garbage}" for channel in channels))
                    published += len(channels)
                assert hears(one, other, next(refs))
                assert hears(other, one, next(refs))
            counted = re.search(r"^realtime_malformed_total (.*)$", site.probe("metrics")[1], re.M)
            assert float(counted[1]) == published
        log = site.log.read_text()
        assert log.count("Malformed layer messages dropped: ") == 1
        assert "Traceback" not in log


# Permissions


@pytest.mark.parametrize(
    ("rights", "reason"),
    [
        ("~* resetchannels", "channel"),
        (f"resetkeys &{PREFIX}:*", "key"),
        (f"~* &{PREFIX}:* -publish", "publish"),
        (f"~{PREFIX}:* &{PREFIX}:*", None),
    ],
    ids=["no-channels", "no-keys", "no-publish", "its-own"],
)
def test_probes_use_what_the_site_uses(rights, reason, prepare, own_redis):
    """A user with only PING is refused, and one with the channels and keys of the prefix is enough."""
    own_redis.start()
    assert "+OK" in own_redis.ask(f"ACL SETUSER site on >{PASSWORD} +@all {rights}")
    assert "+PONG" in own_redis.ask(f"AUTH site {PASSWORD}", "PING")
    project, environ = prepare({"auth": "none"}, f"redis://site:{PASSWORD}@127.0.0.1:{own_redis.port}/0")
    done = subprocess.run([*MANAGE, "check", "--deploy"], cwd=project, env=environ, capture_output=True, text=True)
    with start_site(SERVER, project, environ) as site:
        if reason is None:
            assert "realtime.E002" not in done.stderr
            assert site.probe("readyz") == (200, "ready\n")
            ann, ben = Person(site, "none"), Person(site, "none")
            with ann.connect("lobby") as one, ben.connect("lobby") as other:
                assert [receive(socket)["type"] for socket in (one, other)] == ["welcome"] * 2
                assert hears(one, other, next(refs))
        else:
            assert "(realtime.E002) The channel layer does not answer: " in done.stderr
            assert re.search(rf"\(.*permission.*{reason}", done.stderr), done.stderr
            assert site.probe("readyz") == (503, "away: channel layer\n")
        assert PASSWORD not in done.stderr + site.log.read_text()


# A late start


@pytest.mark.parametrize(
    ("answers", "own_channel"),
    [
        *((answers, False) for answers in spread(combinations("server"), "consumers", "auth")),
        ({"server": "daphne", "consumers": "sync", "auth": "none"}, True),
    ],
    ids=lambda value: label(value) if isinstance(value, dict) else None,
)
def test_sockets_open_before_redis_starts(answers, own_channel, prepare, own_redis):
    """Sockets are served from the database, stay open, and are live soon after Redis starts."""
    project, environ = prepare(answers, f"{own_redis.url}/0")
    if own_channel:
        consumers = project / "chat" / "consumers.py"
        text = consumers.read_text()
        assert text.count("own_channel = False") == 1
        consumers.write_text(text.replace("own_channel = False", "own_channel = True"))
    with start_site(SERVER, project, environ) as site, contextlib.ExitStack() as stack:
        ann, ben = Person(site, answers["auth"]), Person(site, answers["auth"])
        one, other = (stack.enter_context(person.connect("lobby")) for person in (ann, ben))
        assert [receive(socket)["type"] for socket in (one, other)] == ["welcome"] * 2
        send(one, type="send", ref="early", text="hi")
        for socket in (one, other):
            while '"ref":"early"' not in socket.recv(CATCHING_UP):
                pass
        with ben.connect("lobby") as late:
            assert [receive(late)["type"] for _ in range(2)] == ["welcome", "message"]
        assert site.probe("readyz") == (503, "away: channel layer\n")
        own_redis.start()
        wait_until(lambda: hear_each_other(one, other), "the sockets are live", 15)
        assert site.probe("readyz") == (200, "ready\n")


def hear_each_other(one, other):
    """Check that each receives the other's messages within a second, too fast for the database."""
    return all(hears(*pair, next(refs)) for pair in [(one, other), (other, one)] * 3)
