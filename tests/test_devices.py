"""The sample app of devices on a real broker: killed bridges, commands, invalid messages, and pages in a browser."""

import contextlib
import getpass
import json
import os
import random
import re
import subprocess
import time

import pytest
import trustme
from playwright.sync_api import expect, sync_playwright
from support.browsers import OUTAGE, launch, visiting
from support.client import Person
from support.emitted import bake
from support.matrix import CHOICES, combinations, label, spread
from support.programs import ROOTS, require_programs
from support.servers import Broker, Postgres, Redis, end_group, free_port, listens, start_site, wait_until
from support.workers import MANAGE, SERVE, Work

KILLS = int(os.environ.get("DEVICE_KILLS", 5))  # of each
COUNT = int(os.environ.get("DEVICE_COUNT", 100))
PREFIX = "talking-site"  # of the topics
BRIDGE = [*MANAGE, "bridge_devices"]
SITES = spread(combinations("server"), "channel_layer", "consumers", "auth", "database", "django_version")
SOON = 8_000  # milliseconds until a page shows what is stored, also if no event reaches it

# Prints how many devices and readings there are, and whether numbers and sequences have a gap.
CENSUS = """
import json; from django.db.models import Count, Max; from devices.models import Device, Reading
counts = {"count": Count("pk"), "last": Max("seq"), "numbers": Count("number", distinct=True)}
found = Reading.objects.values("device").annotate(**counts)
odd = [one for one in found if not one["count"] == one["last"] == one["numbers"]]
print(json.dumps([Device.objects.count(), Reading.objects.count(), odd]))
"""

# Deletes devices as the admin does, while another thread stores their readings.
DELETIONS = """
import itertools, threading; from django.contrib import admin; from django.db import connection
from devices.messages import ReadingMessage; from devices.models import Device; from devices.storing import *
stopping = threading.Event(); errors = []
def store():
    try:
        for number in itertools.count(1):
            if stopping.is_set():
                return
            store_messages([ReadingMessage(f"device-{device}", number, 1.0, None) for device in range(20)])
    except Exception as error:
        errors.append(error)
    finally:
        connection.close()
thread = threading.Thread(target=store); thread.start(); deleted = 0
try:
    while deleted < 400 and not errors:
        names = list(Device.objects.values_list("pk", flat=True))
        admin.site.get_model_admin(Device).delete_queryset(None, Device.objects.filter(pk__in=names))
        deleted += len(names)
finally:
    stopping.set(); thread.join()
print(errors)
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


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests."""
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        yield browser


def with_sites(answers):
    return pytest.mark.parametrize("answers", answers, ids=label)


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
@pytest.mark.parametrize("database", CHOICES["database"])
def test_busy_devices_can_be_deleted(work, database):
    """The admin deletes devices whose readings arrive at the same time."""
    output = work({"database": database}).shell(DELETIONS)
    assert output.splitlines()[-1] == "[]"  # after a warning: nothing serves pages


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

    def is_dropped():
        send(broker, "one", "readings", bad[0])
        return "Dropped" in (work.project.parent / "worker.log").read_text()

    with work.running(*BRIDGE):
        wait_until(is_dropped, "a line about an invalid message")
        for payload in bad:
            send(broker, "one", "readings", payload)
        send(broker, "no name", "readings", '{"number": 1, "value": 1}')
        send(broker, "one", "status", "perhaps")
        send(broker, "one", "answers", '{"id": "x"}')
        send(broker, "one", "readings", '{"number": 1, "value": 1}')
        send(broker, "one", "readings", '{"number": 1, "value": 2}')
        send(broker, "one", "readings", '{"number": 2, "value": -1e300, "at": "2026-01-01T00:00:00Z"}')
        wait_until(lambda: census(work) == [1, 2, []], "the valid readings")


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
    page = (project / "docs" / "protocol.md").read_text()
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


def test_no_choice_is_left_out():
    """Each server, layer, style, sign-in, database and Django occurs."""
    for question in SITES[0]:
        assert {site[question] for site in SITES} == set(CHOICES[question])


def sees_rows(page, state, *names):
    """Wait until the list has these devices, all in this state."""
    expect(page.locator("[data-device] a")).to_have_text(names, timeout=SOON)
    expect(page.locator("[data-device] .online")).to_have_text([state] * len(names), timeout=SOON)


@contextlib.contextmanager
def stays_open(page):
    """Check that the page is the same one at the end, and that its focus did not move."""
    focused = page.evaluate_handle("document.activeElement")
    yield
    assert page.evaluate("focused => focused.isConnected && focused === document.activeElement", focused)


@pytest.mark.timeout(300)
@with_sites(SITES)
def test_list_follows_the_devices(work, broker, browser, answers):
    """New devices, values and states are shown in the open page, also after the site or the devices were killed."""
    work, port = work(answers), free_port()
    names = ["device-1", "device-2", "device-3"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(work.running(*BRIDGE))
        site = stack.enter_context(start_site(SERVE, work.project, work.environ, port))
        visits = stack.enter_context(visiting(browser, site.url, OUTAGE))
        ann = work.staff(site)
        page = visits(ann, "/devices/").page
        expect(page.get_by_text("No device has sent anything yet.")).to_be_visible()
        with stays_open(page):
            devices = simulate(work, 3, 200)
            stack.callback(end_group, devices)
            sees_rows(page, "Online", *names)
            expect(page.get_by_text("No device has sent anything yet.")).to_have_count(0)
        page.get_by_role("link", name="device-2").focus()
        with stays_open(page):
            value = page.locator("[data-device=device-2] .value")
            expect(value).not_to_be_empty()
            for _ in range(2):  # one reading of a hundred has the value of the one before
                expect(value).not_to_have_text(value.inner_text(), timeout=2 * SOON)
            dashboard = visits(ann, "/dashboard/").page
            figures = ["Devices online", "Readings per second", "Mean value"]
            expect(dashboard.locator("figcaption")).to_contain_text(figures)
            dashboard.close()

            end_group(devices)
            sees_rows(page, "Offline", *names)
            site.kill()
            expect(page.get_by_role("status")).to_have_text("Reconnecting…")
            stack.callback(end_group, simulate(work, 3, 200))
            send(broker, "a-lamp", "status", "online", "-r")
            stack.enter_context(start_site(SERVE, work.project, work.environ, port))
            sees_rows(page, "Online", "a-lamp", *names)
            expect(page.get_by_role("status")).to_have_text("")
            send(broker, "a-lamp", "readings", '{"number": 1, "value": 99.5}')
            expect(page.locator("[data-device=a-lamp] .value")).to_have_text("99.5", timeout=SOON)
            send(broker, "a-lamp", "readings", '{"number": 2, "value": 20.0}')
            expect(page.locator("[data-device=a-lamp] .value")).to_have_text("20", timeout=SOON)
            send(broker, "a-lamp", "status", "offline", "-r")
            expect(page.locator("[data-device=a-lamp] .online")).to_have_text("Offline", timeout=SOON)


def points(page):
    """Return how many readings the chart has."""
    return len(re.findall("[ML]", page.locator(".chart path").get_attribute("d") or ""))


def command(work, page, device, text):
    """Send a command from the form, which guests have not."""
    if work.auth == "none":
        expect(page.get_by_role("textbox")).to_have_count(0)
        code = f"send_command(Device.objects.get(name={device!r}), {text!r}, 'ann')"
        work.shell(f"from devices.commands import *; {code}")
    else:
        page.get_by_label("Command", exact=True).fill(text)
        page.get_by_role("button", name="Send").click()


def sees_commands(page, *commands):
    """Wait until the page has these commands, each with its state and answer."""
    expect(page.locator(".command")).to_have_text(commands, timeout=SOON)


@pytest.mark.timeout(300)
@with_sites(SITES)
def test_page_follows_a_device(work, broker, browser, answers):
    """The chart grows, and commands become delivered and answered in the open page. Only staff have a form."""
    work = work(answers)
    with (
        work.running(*BRIDGE),
        start_site(SERVE, work.project, work.environ) as site,
        visiting(browser, site.url) as visits,
    ):
        send(broker, "lamp", "readings", '{"number": 1, "value": 1.5}')
        send(broker, "lamp", "status", "offline", "-r")
        wait_until(lambda: census(work) == [1, 1, []], "the lamp")
        devices = simulate(work, 1, 200)
        try:
            boss = work.staff(site)
            lamp, page = visits(boss, "/devices/lamp/").page, visits(boss, "/devices/lamp/").page
            command(work, lamp, "lamp", "off")
            sees_commands(lamp, "off Waiting")

            expect(page.get_by_role("status")).to_have_text("Offline")
            page.goto("/devices/device-1/")
            expect(page.get_by_role("status")).to_have_text("Online")
            wait_until(lambda: points(page), "the chart")
            before = points(page)
            wait_until(lambda: points(page) >= before + 5, "new readings")
            command(work, page, "device-1", "blink")
            sees_commands(page, "blink Answered Done: blink")
            sees_commands(lamp, "off Waiting")

            with stays_open(lamp):
                send(broker, "lamp", "readings", '{"number": 2, "value": 99.5}')
                expect(lamp.locator(".chart .value")).to_have_text("99.5", timeout=SOON)
                assert points(lamp) == 2
                send(broker, "lamp", "status", "online", "-r")
                expect(lamp.get_by_role("status")).to_have_text("Online", timeout=SOON)
                key = work.shell("from devices.models import *; print(Command.objects.get(text='off').pk)")
                send(broker, "lamp", "answers", json.dumps({"id": int(key)}))
                sees_commands(lamp, "off Delivered")
                send(broker, "lamp", "answers", json.dumps({"id": int(key), "answer": "It is dark"}))
                sees_commands(lamp, "off Answered It is dark")
                end_group(devices)
                expect(page.get_by_role("status")).to_have_text("Offline", timeout=SOON)

            visitor = visits(Person(site, work.auth), "/devices/lamp/").page
            sees_commands(visitor, "off Answered It is dark")
            expect(visitor.get_by_role("textbox")).to_have_count(0)
        finally:
            end_group(devices)


@pytest.mark.timeout(300)
def test_page_is_live_after_a_refused_command(work, browser):
    """The page names the fault, and shows commands that others send."""
    work = work({})
    work.shell("from devices.models import *; Device.objects.create(name='lamp')")
    with start_site(SERVE, work.project, work.environ) as site, visiting(browser, site.url, "400") as visits:
        page = visits(work.staff(site), "/devices/lamp/").page
        command(work, page, "lamp", " ")
        expect(page.get_by_text("This field is required.")).to_be_visible()
        work.shell("from devices.commands import *; send_command(Device.objects.get(), 'off', 'ben')")
        sees_commands(page, "off Waiting")


@pytest.mark.timeout(300)
def test_page_of_a_device_shows_a_lost_connection(work, browser):
    """The state of the device is unknown until the site answers again."""
    work = work({})
    work.shell("from devices.models import *; Device.objects.create(name='lamp')")
    with contextlib.ExitStack() as visits:
        with start_site(SERVE, work.project, work.environ) as site:
            visit = visits.enter_context(visiting(browser, site.url, OUTAGE))
            page = visit(work.staff(site), "/devices/lamp/").page
            expect(page.get_by_role("status")).to_have_text("Offline")
        expect(page.get_by_role("status")).to_have_text("Reconnecting…")
        with start_site(SERVE, work.project, work.environ, site.port):
            expect(page.get_by_role("status")).to_have_text("Offline", timeout=30_000)
            visits.close()


FILL = """
from devices.messages import *; from devices.storing import store_messages
names = ("one", "W" * 64)
store_messages([ReadingMessage(name, number, number, None) for name in names for number in range(1, 46)])
store_messages([StatusMessage(name, True) for name in names])
store_messages([ReadingMessage(names[1], 99, -9.87654321098765e299, None)])
"""


@pytest.mark.timeout(300)
@with_sites(SITES[:1])
def test_links_lead_through_the_history(work, browser, answers):
    """The list leads to a device with its chart, and links to older and newer readings."""
    work = work(answers)
    work.shell(FILL)
    with start_site(SERVE, work.project, work.environ) as site, visiting(browser, site.url) as visits:
        page = visits(work.staff(site), "/devices/").page
        sees_rows(page, "Online", "W" * 64, "one")
        page.get_by_role("link", name="W" * 64).click()
        wait_until(lambda: points(page) == 46, "the chart")
        chart = page.get_by_role("figure", name="Value").get_by_role("img")
        pattern = r"The latest readings \(46\): between -987,654,321,098,765(,000){95} and 45"
        assert re.fullmatch(pattern, chart.get_attribute("aria-label"))

        page.goto("/devices/one/")
        pages = [[str(float(value)) for value in range(45, 25, -1)], [str(float(value)) for value in range(25, 5, -1)]]
        values = page.locator("tbody td:last-child")
        for link, shown in ((None, 0), ("Older readings", 1), ("Newer readings", 0)):
            if link:
                page.get_by_role("link", name=link).click()
            expect(values).to_have_text(pages[shown])


@pytest.mark.timeout(120)
def test_bridge_speaks_tls(work, tmp_path):
    """A private authority is trusted by SSL_CERT_FILE. The certificate of another one is one line of the log."""
    authority, other = trustme.CA(), trustme.CA()
    for name, one in (("trusted", authority), ("other", other)):
        one.cert_pem.write_to_path(tmp_path / f"{name}.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(tmp_path / "chain.pem", append=True)
    passwords = tmp_path / "passwords"
    passwords.touch(0o600)
    environ = {**os.environ, "PATH": f"{os.environ['PATH']}:{ROOTS}"}
    subprocess.run(["mosquitto_passwd", "-b", passwords, "site", "p@ss:/word"], check=True, env=environ)
    secure = Broker(
        tmp_path,
        "allow_anonymous false",
        f"password_file {passwords}",
        f"certfile {tmp_path}/chain.pem",
        f"keyfile {tmp_path}/key.pem",
    )
    secure.start()
    url = f"mqtts://site:p%40ss%3A%2Fword@127.0.0.1:{secure.port}"
    work = work({}, MQTT_URL=url, SSL_CERT_FILE=str(tmp_path / "other.pem"))
    log = work.project.parent / "worker.log"
    try:
        with work.running(*BRIDGE):
            wait_until(lambda: "not reached" in log.read_text(), "the refusal")
            time.sleep(3)  # in which it retries
        lines = log.read_text()
        assert (lines.count("CERTIFICATE_VERIFY_FAILED"), "Traceback" in lines) == (1, False)
        work.environ["SSL_CERT_FILE"] = str(tmp_path / "trusted.pem")
        with work.running(*BRIDGE):
            output, _ = simulate(work, 3, 3).communicate(timeout=60)
        total = int(re.search(r"Readings: (\d+). Not stored: 0", output)[1])
        assert census(work) == [3, total, []]
    finally:
        secure.stop()
