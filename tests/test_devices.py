"""The sample app of devices on a real broker: bridges that are killed, commands, and messages that are invalid."""

import contextlib
import getpass
import json
import os
import random
import re
import subprocess
import time

import pytest
from support.emitted import bake
from support.matrix import CHOICES
from support.programs import ROOTS, require_programs
from support.servers import Broker, Postgres, Redis, end_group, free_port, listens, wait_until
from support.workers import MANAGE, Work

KILLS = int(os.environ.get("DEVICE_KILLS", 5))  # of each
COUNT = int(os.environ.get("DEVICE_COUNT", 100))
PREFIX = "talking-site"  # of the topics
BRIDGE = [*MANAGE, "bridge_devices"]

# Prints how many devices and readings there are, and whether numbers and sequences have a gap.
CENSUS = """
import json; from django.db.models import Count, Max; from devices.models import Device, Reading
found = Reading.objects.values("device").annotate(count=Count("pk"), last=Max("seq"), numbers=Count("number", True))
odd = [one for one in found if not one["count"] == one["last"] == one["numbers"]]
print(json.dumps([Device.objects.count(), Reading.objects.count(), odd]))
"""


@pytest.fixture
def broker(tmp_path_factory):
    """A Mosquitto of the test's own."""
    require_programs({"mosquitto_pub": "mosquitto-clients"})
    server = Broker(tmp_path_factory.mktemp("mosquitto"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def work(cookies, environment, services, broker):
    """Return a function that prepares a project for these answers, with more variables of the environment."""

    def prepare(answers, **variables):
        project = bake(cookies, **answers, examples="all")
        given = {"MQTT_URL": broker.url, **variables}
        return Work.prepare(project, answers, environment, lambda answers: {**services(answers), **given})

    return prepare


def simulate(work, count, seconds, *options):
    """Start devices. Return the process."""
    command = [*MANAGE, "simulate_devices", "--count", str(count), "--seconds", str(seconds), *options]
    return subprocess.Popen(
        command, cwd=work.project, env=work.environ, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def send(broker, device, kind, payload, *options):
    """Publish a message of a device."""
    topic = f"{PREFIX}/{device}/{kind}"
    command = ["mosquitto_pub", "-p", str(broker.port), "-V", "5", "-q", "1", "-t", topic, "-m", payload, *options]
    subprocess.run(command, check=True, timeout=10)


def census(work):
    return json.loads(work.shell(CENSUS))


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_by_kills(tmp_path, cookies, environment, broker):
    """Bridge, broker, Redis and PostgreSQL are killed in turns. Each reading is stored once, without a gap."""
    redis, postgres = Redis(tmp_path), Postgres()
    redis.start()
    postgres.start()
    answers = {"channel_layer": "redis", "database": "postgresql"}
    variables = {
        "DATABASE_URL": postgres.new_database(),
        "REDIS_URL": f"{redis.url}/0",
        "MQTT_URL": broker.url,
    }
    work = Work.prepare(bake(cookies, **answers, examples="all"), answers, environment, lambda _: variables)

    with contextlib.ExitStack() as bridges:
        bridges.callback(postgres.stop)
        bridges.callback(redis.stop)

        def start_bridge():
            return bridges.enter_context(work.running(*BRIDGE, "--name", "one"))

        bridge = start_bridge()
        devices = simulate(work, COUNT, 6 * KILLS)
        try:
            for _ in range(KILLS):
                end_group(bridge)
                time.sleep(random.uniform(0, 0.5))
                bridge = start_bridge()
                time.sleep(random.uniform(1, 2))
                broker.stop()
                time.sleep(random.uniform(0, 0.5))
                broker.start()
                time.sleep(random.uniform(0, 1))
                redis.stop()
                time.sleep(random.uniform(0, 0.5))
                redis.start()
                postgres.process.send_signal(3)  # SIGQUIT: at once, like a crash
                postgres.process.wait()
                time.sleep(random.uniform(0, 1))
                postgres.resume()
                time.sleep(random.uniform(0, 1))
            output, _ = devices.communicate(timeout=120)
        finally:
            end_group(devices)
        total, kept = map(int, re.search(r"Readings: (\d+). Not stored: (\d+).", output).groups())
        assert (kept, census(work)) == (0, [COUNT, total, []])
        assert total > COUNT * 4 * KILLS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", CHOICES["database"])
def test_bridges_share_the_work(work, broker, database):
    """Each of two bridges stores a part, and together all."""
    work = work({"database": database})
    with work.running(*BRIDGE, "--name", "one") as one, work.running(*BRIDGE, "--name", "two") as two:
        devices = simulate(work, 20, 6)
        output, _ = devices.communicate(timeout=60)
        total = int(re.search(r"Readings: (\d+). Not stored: 0", output)[1])
        assert census(work) == [20, total, []]
        for bridge in (one, two):
            bridge.terminate()
            assert bridge.wait(20) == 0
        counts = re.findall(r"Stored (\d+) messages", (work.project.parent / "worker.log").read_text())
        assert [int(count) > total / 4 for count in counts] == [True, True]


@pytest.mark.timeout(300)
def test_invalid_messages_stop_nothing(work, broker):
    """Invalid messages are dropped with a line, and those after them are stored."""
    work = work({})
    bad = [
        "", "x", "[]", "{}", '{"number": 1}', '{"number": 0, "value": 1}', '{"number": true, "value": 1}',
        '{"number": 1, "value": NaN}', '{"number": 1, "value": 1e999}', '{"number": 99999999999999999999, "value": 1}',
        '{"number": 1, "value": 1, "at": "today"}', '{"number": 9, "value": 1, "at": "0001-01-01T00:00:00+14:00"}',
        "[" * 5000,
    ]  # fmt: skip
    with work.running(*BRIDGE):
        time.sleep(3)
        for payload in bad:
            send(broker, "one", "readings", payload)
        send(broker, "no name", "readings", '{"number": 1, "value": 1}')
        send(broker, "one", "status", "perhaps")
        send(broker, "one", "answers", '{"id": "x"}')
        send(broker, "one", "readings", '{"number": 1, "value": 1}')
        send(broker, "one", "readings", '{"number": 1, "value": 2}')
        send(broker, "one", "readings", '{"number": 2, "value": -1e308, "at": "2026-01-01T00:00:00Z"}')
        wait_until(lambda: census(work) == [1, 2, []], "the valid readings")
    assert "Dropped" in (work.project.parent / "worker.log").read_text()


@pytest.mark.timeout(300)
def test_commands_are_answered(work, broker):
    """A command waits until the device is online, is delivered and answered, and survives a restart of the bridge."""
    work = work({})
    states = (
        "from devices.models import *; "
        "print([[c.device.name, c.state, c.answer] for c in Command.objects.order_by('pk')])"
    )
    work.shell(
        "from devices.commands import *\n"
        "for name in ('device-1', 'device-9'): "
        "send_command(Device.objects.create(name=name), 'blink', 'ann')"
    )
    answered = "[['device-1', 'answered', 'Done: blink'], ['device-9', 'waiting', '']]"
    with work.running(*BRIDGE):
        devices = simulate(work, 2, 60)
        try:
            wait_until(lambda: work.shell(states) == answered, "the answer")
        finally:
            end_group(devices)


@pytest.mark.timeout(300)
def test_lost_device_is_offline(work, broker):
    """The broker sends the last will of killed devices."""
    work = work({})
    online = "from devices.models import *; print(Device.objects.filter(is_online=True).count())"
    with work.running(*BRIDGE):
        devices = simulate(work, 3, 60)
        wait_until(lambda: work.shell(online) == "3", "the devices")
        end_group(devices)
        wait_until(lambda: work.shell(online) == "0", "the last wills")


@pytest.mark.timeout(120)
def test_bridge_needs_a_broker(work, broker):
    """Without MQTT_URL one line names it, and without a broker the bridge waits for one."""
    work = work({})
    for url, line in [
        ("", "MQTT_URL: missing. Set it"),
        ("http://x", "MQTT_URL: Not a valid mqtt:// or mqtts:// URL."),
    ]:
        done = subprocess.run(
            BRIDGE,
            cwd=work.project,
            env={**work.environ, "MQTT_URL": url, "DEBUG": "true"},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr.startswith(line), done.stderr.count("\n")) == (1, True, 1)
    broker.stop()
    with work.running(*BRIDGE):
        time.sleep(3)
        broker.start()
        wait_until(lambda: "Connected" in (work.project.parent / "worker.log").read_text(), "the bridge")


def test_topics_are_documented(cookies):
    """The page has an example of each topic, which the project accepts."""
    project = bake(cookies, examples="all")
    page = (project / "docs" / "devices.md").read_text()
    rows = re.findall(r"^\| `talking-site/<device>/(\w+)` \| [^|]+ \| (.+) \|$", page, re.M)
    assert [kind for kind, _ in rows] == ["readings", "status", "stored", "commands", "answers"]
    bridge = (project / "devices" / "bridge.py").read_text()
    assert re.findall(r'topic_of\("\+", "(\w+)"\)', bridge) == ["status", "readings", "answers"]
    for kind, text in rows:
        payloads = re.findall("`(.+?)`", text)
        assert payloads
        if kind != "status":
            assert all(json.loads(payload) for payload in payloads)


def test_compose_has_a_broker(cookies, tmp_path):
    """The configuration starts a broker that asks for a password."""
    require_programs({"mosquitto": "mosquitto", "mosquitto_pub": "mosquitto-clients"})
    project, port = bake(cookies, examples="all"), free_port()
    configuration = (project / "deploy" / "mosquitto.conf").read_text()
    changes = {
        "/tmp/passwords": f"{tmp_path}/passwords",
        "/mosquitto/data": str(tmp_path),
        "listener 1883": f"listener {port} 127.0.0.1",
    }
    for old, new in changes.items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    (tmp_path / "mosquitto.conf").write_text(f"{configuration}user {getpass.getuser()}\n")
    command = (project / "compose.yaml").read_text().partition("umask 077; ")[2].partition(" &&")[0]
    command = command.replace("$$", "$").replace("/tmp/passwords", f"{tmp_path}/passwords")
    environ = {**os.environ, "MQTT_PASSWORD": "secret", "PATH": f"{os.environ['PATH']}:{ROOTS}"}
    subprocess.run(["sh", "-c", command], check=True, env=environ)
    broker = subprocess.Popen(["mosquitto", "-c", str(tmp_path / "mosquitto.conf")], env=environ)
    try:
        wait_until(lambda: listens(port), "Mosquitto")
        health = ["mosquitto_pub", "-p", str(port), "-t", "health", "-n"]
        signed_in = [*health, "-u", "site", "-P", "secret"]
        assert [subprocess.run(one, env=environ).returncode == 0 for one in (health, signed_in)] == [False, True]
    finally:
        broker.kill()
        broker.wait()
