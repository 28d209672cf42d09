"""What operators see and do: figures, log lines, and an end that loses nothing."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError
from django.test import AsyncClient, Client
from pytest_django import Settings

from chat.models import Message, store_message
from config.settings import BASE_DIR
from realtime.logs import ConnectionFilter, LineFormatter, report
from realtime.presence import QUIET_SECONDS
from realtime.process import get_process
from tests.conftest import Visit

LOBBY = "/ws/chat/lobby/"
TOKEN = "t" * 20


def figure(name: str) -> float:
    """The value of a metric, as a collector reads it."""
    lines = Client().get("/metrics").content.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def test_what_happens_is_counted(visit: Visit) -> None:
    """Connections, frames in and out, refusals."""
    names = ["connections", "messages_received_total", "messages_sent_total", "errors_total"]
    read = sync_to_async(lambda: [figure(f"realtime_{name}") for name in names])
    start = await read()
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    assert await ann.sees("ann", "bob")
    assert await bob.sees("ann", "bob")
    before = await read()
    assert before[0] - start[0] == 2
    await ann.send(type="send", ref="a1", text="hi")
    await ann.receive_until("message")
    await bob.receive_until("message")
    await ann.send_text("{")
    await ann.receive_until("error")
    after = await read()
    assert [new - old for old, new in zip(before, after, strict=True)] == [0, 2, 3, 1]
    await ann.leave()
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
def test_figures_are_for_operators(
    settings: Settings, address: str, headers: dict[str, str], status: int
) -> None:
    """They need the token, or a place on this machine that is no proxy's."""
    settings.METRICS_TOKEN = TOKEN
    response = Client(headers=headers).get("/metrics", REMOTE_ADDR=address)
    assert (response.status_code, b"realtime_" in response.content) == (status, status == 200)


def test_without_a_token_figures_stay_on_the_machine() -> None:
    """An empty token is not a password that everybody knows."""
    client = Client(headers={"Authorization": "Bearer "})
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.7").status_code == 401
    assert client.get("/metrics").status_code == 200


def test_several_processes_are_added_up(tmp_path: Path) -> None:
    """Each writes what it counts into a folder that all of them read."""
    code = (
        "import os, django; django.setup(); from realtime import metrics; "
        "os.fork() and os.wait(); metrics.RECEIVED.inc(); "
        "from django.test import RequestFactory; "
        "print(metrics.metrics(RequestFactory().get('/metrics')).content.decode())"
    )
    output = run_python(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert "realtime_messages_received_total 2.0" in output


async def test_log_lines_say_whose_connection_it_is(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also those that are written in a thread."""

    def store(*_: str) -> None:
        logging.getLogger("chat").warning("storing")

    monkeypatch.setattr("chat.consumers.store_message", store)
    caplog.handler.addFilter(ConnectionFilter())
    ann = await visit("/ws/chat/attic/")
    await ann.receive_until("welcome")
    await ann.send(type="send", ref="a1", text="hi")
    assert await ann.close_code() == 1011
    (record,) = [record for record in caplog.records if record.message == "storing"]
    assert (record.user, record.room) == ("ann", "attic")  # type: ignore[attr-defined]
    assert len(record.connection) == 16  # type: ignore[attr-defined]


def test_log_lines_may_be_json() -> None:
    """One object for each, for programs that collect them."""
    code = "import django, logging; django.setup(); logging.getLogger('chat').info('hi')"
    line = json.loads(run_python(code, LOG_FORMAT="json"))
    assert line.items() >= {"levelname": "INFO", "name": "chat", "message": "hi"}.items()
    assert line.keys() >= {"asctime", "client", "connection", "user", "room"}


def line_of(record: logging.LogRecord) -> str:
    """The record as the console shows it."""
    ConnectionFilter().filter(record)
    return LineFormatter("%(levelname)s %(message)s").format(record)


def test_text_from_outside_stays_in_its_line() -> None:
    """Controls, line separators and marks of direction are escaped, values of queries hidden."""
    text = "no /a\n\x1b[2J\u2028\u202e?ticket=secret&after=1"
    record = logging.makeLogRecord({"msg": "%s", "args": (text,), "levelname": "INFO"})
    record.room = 'a"] user=root'
    assert line_of(record) == (
        "INFO no /a\\n\\x1b[2J\\u2028\\u202e?ticket=...&after=... "
        '[client=- connection=- user=- room="a\\"] user=root"]'
    )


def test_database_errors_are_logged_without_the_row() -> None:
    """The first line says what failed; details repeat what people wrote."""
    try:
        raise IntegrityError("null value\nDETAIL:  Failing row contains (secret\nforged).")
    except IntegrityError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    lines = line_of(record).splitlines()
    assert lines[-1] == "    django.db.utils.IntegrityError: null value"
    assert all(line.startswith("    ") for line in lines[1:])


def test_security_events_have_fields(caplog: pytest.LogCaptureFixture) -> None:
    """A value with spaces is quoted, so that it cannot pass for other fields."""
    with caplog.at_level(logging.INFO, "security"):
        report("origin_refused", logging.WARNING, origin="x client=y", client="203.0.113.7")
    (record,) = caplog.records
    assert line_of(record) == (
        'WARNING event=origin_refused origin="x client=y" '
        "[client=203.0.113.7 connection=- user=- room=-]"
    )
    code = (
        "import django; django.setup(); from realtime.logs import report; "
        "report('flood', user='ann', origin='x')"
    )
    fields = json.loads(run_python(code, LOG_FORMAT="json"))
    wanted = {"name": "security", "event": "flood", "user": "ann", "origin": "x", "client": "-"}
    assert fields.items() >= wanted.items()


def run_python(code: str, **variables: str) -> str:
    """What a process with the project's settings prints."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **variables}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=environment, cwd=BASE_DIR, check=True, text=True, stdout=-1, stderr=-2
    ).stdout


async def test_clients_are_let_go(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 4012, after what was sent last is stored and acknowledged; new ones at once."""
    storing, released = threading.Event(), threading.Event()

    def store_slowly(*arguments: Any) -> tuple[Message, bool]:
        storing.set()
        released.wait(5)
        return store_message(*arguments)

    monkeypatch.setattr("chat.consumers.store_message", store_slowly)
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    assert await ann.sees("ann", "bob")
    await ann.send(type="send", ref="a1", text="hi")
    assert await asyncio.to_thread(storing.wait, 5)
    draining = asyncio.create_task(get_process().drain())
    assert await bob.close_code() == 4012
    late = await visit(LOBBY)
    assert (late.opened, await late.close_code()) == (True, 4012)
    released.set()
    await ann.receive_until("message")
    assert await ann.close_code() == 4012
    await draining


async def test_a_process_that_is_about_to_end_is_not_ready(visit: Visit) -> None:
    """So that a load balancer sends it nobody any more."""
    await get_process().drain()
    response = await AsyncClient().get("/readyz")
    assert (response.status_code, response.content) == (503, b"going away\n")


async def test_nothing_is_said_after_the_goodbye(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who left shortly before is not announced by a process that everybody forgot."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    await ann.leave()
    process = get_process()
    await process.drain()
    said: list[str] = []

    async def group_send(group: str, message: dict[str, Any]) -> None:
        said.append(message["type"])

    monkeypatch.setattr(process.layer, "group_send", group_send)
    await asyncio.sleep(2 * QUIET_SECONDS)
    assert said == []
