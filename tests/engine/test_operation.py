"""Metrics, log lines, probes, and a drain that loses nothing."""

import asyncio
import json
import logging
import os
import subprocess
import sys

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, OperationalError
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory

from engine.routing import consumers
from realtime import logs
from realtime.logs import ConnectionFilter, LineFormatter, OutageFilter, report
from realtime.middleware import ContentSecurityPolicyMiddleware
from realtime.presence import QUIET_SECONDS
from realtime.process import get_process

PATH = "/ws/journal/a/"
TOKEN = "t" * 20


def figure(name):
    """Return the value of a metric as a collector reads it."""
    lines = Client().get("/metrics").content.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def test_connections_and_frames_are_counted(visit):
    """Metrics count open connections, frames in both directions, and errors."""
    names = ["connections", "messages_received_total", "messages_sent_total", "errors_total"]
    read = sync_to_async(lambda: [figure(f"realtime_{name}") for name in names])
    start = await read()
    ann, bob = await visit(PATH), await visit(PATH, "bob")
    assert await ann.sees("ann", "bob")
    assert await bob.sees("ann", "bob")
    before = await read()
    assert before[0] - start[0] == 2
    await ann.send(type="append", ref="a1", text="hi")
    await ann.receive_until("entry")
    await bob.receive_until("entry")
    await ann.send_text("{")
    await ann.receive_until("error")
    after = await read()
    assert [new - old for old, new in zip(before, after, strict=True)] == [0, 2, 3, 1]
    await ann.disconnect()
    assert (await read())[0] == before[0] - 1


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("203.0.113.7", {}, 401),
        ("", {}, 401),  # a Unix socket, behind which there may be a proxy
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 401),
        ("127.0.0.1", {"X-Forwarded-Proto": "https"}, 401),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 401),
        ("203.0.113.7", {"Authorization": f"Bearer {TOKEN}"}, 200),
        ("203.0.113.7", {"Authorization": f"bearer {TOKEN}", "X-Forwarded-Proto": "https"}, 200),
        ("203.0.113.7", {"Authorization": f"Bearer {TOKEN}x"}, 401),
        ("203.0.113.7", {"Authorization": "Bearer "}, 401),
    ],
)
def test_metrics_need_a_token_or_this_machine(settings, address, headers, status):
    """Metrics are shown to a client with the token, and to a local one that is not a proxy."""
    settings.METRICS_TOKEN = TOKEN
    response = Client(headers=headers).get("/metrics", REMOTE_ADDR=address)
    assert (response.status_code, b"realtime_" in response.content) == (status, status == 200)


def test_empty_token_opens_nothing():
    """Without METRICS_TOKEN metrics are shown on this machine only."""
    client = Client(headers={"Authorization": "Bearer "})
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.7").status_code == 401
    assert client.get("/metrics").status_code == 200


def test_metrics_of_several_processes_are_added(tmp_path):
    """Each process writes its metrics into a shared folder, and each one answers with the sum."""
    code = (
        "import os, django; django.setup(); from realtime import metrics; "
        "os.fork() and os.wait(); metrics.RECEIVED.inc(); "
        "from django.test import RequestFactory; "
        "print(metrics.metrics(RequestFactory().get('/metrics')).content.decode())"
    )
    output = run_python(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert "realtime_messages_received_total 2.0" in output


def test_probes_are_answered(transactional_db):
    """Probes are answered in plain text, without a sign-in."""
    assert Client().get("/healthz").content == b"ok\n"
    assert Client().get("/readyz").content == b"ready\n"


def test_probes_may_name_an_address(transactional_db, settings):
    """Balancers and collectors may name any host. Other paths need an allowed one."""
    settings.ALLOWED_HOSTS = ["site.example.com"]
    client = Client(headers={"host": "10.0.0.7:8000"})
    paths = ("/healthz", "/readyz", "/metrics", "/")
    assert [client.get(path).status_code for path in paths] == [200, 200, 200, 400]


def test_outage_makes_the_process_unready(transactional_db, monkeypatch):
    """During an outage `/readyz` names what is unavailable, and `/healthz` is still fine."""

    async def fail():
        raise ConnectionError

    monkeypatch.setattr("realtime.health.probe", fail)
    response = Client().get("/readyz")
    assert (response.status_code, response.content) == (503, b"away: channel layer\n")
    assert Client().get("/healthz").status_code == 200


async def test_log_lines_name_the_connection(visit, monkeypatch, caplog):
    """A log line written in a thread names the connection and its user."""

    def fail(*_):
        logging.getLogger("engine").warning("storing")

    monkeypatch.setattr(consumers, "append", fail)
    caplog.handler.addFilter(ConnectionFilter())
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    await ann.send(type="append", ref="a1", text="hi")
    assert await ann.close_code() == 1011
    (record,) = [record for record in caplog.records if record.message == "storing"]
    assert record.user == "ann"
    assert len(record.connection) == 16


def test_log_lines_may_be_json():
    """Each line is an object if LOG_FORMAT is json."""
    code = "import django, logging; django.setup(); logging.getLogger('realtime').info('hi')"
    line = json.loads(run_python(code, LOG_FORMAT="json"))
    assert line.items() >= {"levelname": "INFO", "name": "realtime", "message": "hi"}.items()
    assert line.keys() >= {"asctime", "client", "connection", "user"}


def line_of(record):
    """Return the record as the console shows it."""
    ConnectionFilter().filter(record)
    return LineFormatter("%(levelname)s %(message)s").format(record)


def test_foreign_text_stays_in_its_line():
    """Controls, line separators and direction marks are escaped, and values of queries hidden."""
    text = "no /a\n\x1b[2J\u2028\u202e?ticket=secret&after=1"
    record = logging.makeLogRecord({"msg": "%s", "args": (text,), "levelname": "INFO"})
    record.room = 'a"] user=root'
    assert line_of(record) == (
        'INFO no /a\\n\\x1b[2J\\u2028\\u202e?ticket=...&after=... [client=- connection=- user=- room="a\\"] user=root"]'
    )


def test_arguments_of_commands_are_hidden():
    """A Redis that does not know a command answers with its arguments, which may be a password."""
    text = "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'secret' "
    assert logs.hide(text) == "unknown command 'HELLO'"
    record = logging.makeLogRecord({"msg": "%s", "args": (text,), "levelname": "INFO"})
    assert line_of(record).partition(" [")[0] == "INFO unknown command 'HELLO'"  # before the context, if there is one


def test_database_error_is_logged_without_the_row():
    """Only the first line of a database error is logged. Its details repeat the row."""
    try:
        raise IntegrityError("null value\nDETAIL:  Failing row contains (secret\nforged).")
    except IntegrityError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    lines = line_of(record).splitlines()
    assert lines[-1] == "    django.db.utils.IntegrityError: null value"
    assert all(line.startswith("    ") for line in lines[1:])


def test_outage_is_logged_in_one_line(caplog):
    """An outage is logged without a traceback, and a programming error with one."""
    for error in (OperationalError("gone\nfor long"), KeyError("mistake")):
        try:
            raise error
        except Exception:
            logging.getLogger("engine").exception("%s failed", "It")
    kept = [OutageFilter().filter(record) for record in caplog.records]
    assert [record.getMessage() for record in kept] == ["It failed: gone", "It failed"]
    assert [record.exc_info is None for record in kept] == [True, False]


def test_security_events_have_fields(caplog):
    """A value with spaces is quoted, so that it cannot forge other fields."""
    with caplog.at_level(logging.INFO, "security"):
        report("origin_refused", logging.WARNING, origin="x client=y", client="203.0.113.7")
    (record,) = caplog.records
    assert line_of(record) == (
        'WARNING event=origin_refused origin="x client=y" [client=203.0.113.7 connection=- user=- room=-]'
    )
    code = "import django; django.setup(); from realtime.logs import report; report('flood', user='ann', origin='x')"
    fields = json.loads(run_python(code, LOG_FORMAT="json"))
    wanted = {"name": "security", "event": "flood", "user": "ann", "origin": "x", "client": "-"}
    assert fields.items() >= wanted.items()


def run_python(code, **variables):
    """Return the output of a process with the suite's settings."""
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "engine.settings", **variables}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environ, check=True, text=True, stdout=-1, stderr=-2).stdout


async def test_drain_handles_the_last_frame(visit, slow_store):
    """A drain closes with 4012 after the last frame is handled, and every new socket at once."""
    storing, released = slow_store
    ann, bob = await visit(PATH), await visit(PATH, "bob")
    assert await ann.sees("ann", "bob")
    await ann.send(type="append", ref="a1", text="hi")
    assert await asyncio.to_thread(storing.wait, 5)
    draining = asyncio.create_task(get_process().drain())
    assert await bob.close_code() == 4012
    late = await visit(PATH)
    assert (late.connected, await late.close_code()) == (True, 4012)
    released.set()
    await ann.receive_until("entry")
    assert await ann.close_code() == 4012
    await draining


async def test_draining_process_is_not_ready(visit):
    """`/readyz` of a draining process is 503, so that a balancer sends it no client."""
    await get_process().drain()
    response = await AsyncClient().get("/readyz")
    assert (response.status_code, response.content) == (503, b"going away\n")


async def test_nothing_is_announced_after_a_drain(visit, monkeypatch):
    """A process that announced its end does not announce presence any more."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    await ann.disconnect()
    process = get_process()
    await process.drain()
    sent = []

    async def group_send(group, message):
        sent.append(message["type"])

    monkeypatch.setattr(process.layer, "group_send", group_send)
    await asyncio.sleep(2 * QUIET_SECONDS)
    assert sent == []


@pytest.mark.parametrize(
    ("debug", "status", "sent"), [(False, 404, True), (True, 400, False), (True, 404, False), (True, 200, True)]
)
def test_policy_is_sent(settings, debug, status, sent):
    """Each page has the policy of SECURE_CSP, except Django's own pages for developers."""
    settings.DEBUG, settings.SECURE_CSP = debug, {"default-src": ["'self'", "blob:"], "img-src": ["*"]}
    middleware = ContentSecurityPolicyMiddleware(lambda request: HttpResponse(status=status))
    policy = middleware(RequestFactory().get("/")).headers.get("Content-Security-Policy")
    assert policy == ("default-src 'self' blob:; img-src *" if sent else None)


def test_facts_of_a_connection_grow():
    """Log records have the facts that a consumer added."""
    logs.begin(user="ann")
    logs.add(room="tea")
    record = logging.makeLogRecord({"msg": "hi", "levelname": "INFO", "stack_info": "Stack:\n  a\x1b"})
    assert line_of(record) == "INFO hi [client=- connection=- user=ann room=tea]\n    Stack:\n      a\\x1b"
    logs.facts.set(None)
    logs.add(room="tea")
    assert logs.facts.get() is None
