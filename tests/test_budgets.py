"""Clients that do not read cost the server bounded memory, and other clients no event."""

import contextlib
import json
import re
import socket
import time

import pytest
from support.client import Person, receive
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, combinations, label, spread
from support.servers import start_site

TEXT = "🐌" * 4000  # 16 KB as UTF-8
MESSAGES = 500  # 8 MB, the limit of a replay or a page
REPLAYS, PAGES = 60, 20
MIB = 1024**2
BUDGET = 300 * MIB  # a page has 4 MB while it is built, a thread reads 1 MiB of texts, a replay has a chunk


@pytest.fixture(scope="module", params=spread(combinations("server"), "consumers"), ids=label)
def site(request, cookies_session, environment):
    """A site of guests, with 8 MB of messages in the room `long`."""
    project = bake(cookies_session, **request.param, auth="none")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), LOG_LEVEL="WARNING")
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    fill = (
        "from chat.models import *\n"
        f"for n in range({MESSAGES}): store_message(Draft('long', '1', 'ann', str(n), {TEXT!r}))"
    )
    run(["uv", "run", "python", "manage.py", "shell", "-c", fill], project, environ)
    with start_site(["uv", "run", "python", "manage.py", "serve"], project, environ) as site:
        yield site


def most_memory(site) -> int:
    """Return the highest memory of the site's processes in bytes."""
    statuses = [(process / "status").read_text() for process in site.processes()]
    return sum(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 for status in statuses)


def request_and_read_nothing(site, path, *headers) -> socket.socket:
    """Open a connection whose answer arrives and is not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", site.port))
    head = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{site.port}", *headers, "", ""])
    connection.sendall(head.encode())
    return connection


def test_unread_answers_have_a_budget(site):
    """Two users continue to chat while sixty replays and twenty pages of history are not read."""
    ann, ben = Person(site, "none"), Person(site, "none")
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(person.connect("lobby")) for person in (ann, ben)]
        for connection in sockets:
            assert receive(connection)["type"] == "welcome"
        talk(sockets)
        before = most_memory(site)
        upgrade = (
            f"Origin: {site.url}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        )
        for _ in range(REPLAYS):
            stack.enter_context(request_and_read_nothing(site, "/ws/chat/long/?after=0", *upgrade))
        delay = talk(sockets)
        for _ in range(PAGES):
            stack.enter_context(request_and_read_nothing(site, "/chat/long/messages/"))
        delay = max(delay, talk(sockets))
        time.sleep(2)  # unread answers accumulate
        delay = max(delay, talk(sockets))
        growth = most_memory(site) - before
        print(f"{growth / MIB:.0f} MiB, the longest delay {delay * 1000:.0f} ms")
        assert growth < BUDGET


def talk(sockets) -> float:
    """Let each user send a message to the other. Return the seconds."""
    start = time.monotonic()
    for connection in sockets:
        text = str(time.monotonic())
        connection.send(json.dumps({"type": "send", "ref": text, "text": text}))
        for each in sockets:
            while (event := receive(each))["type"] != "message" or event["text"] != text:
                pass
    return time.monotonic() - start


def test_cut_replays_and_pages_lose_nothing(site):
    """A replay has the newest messages, and the gap before it is read page by page, in both directions."""
    person = Person(site, "none")
    with person.connect("long", "?after=0") as connection:
        events = [receive(connection) for _ in range(2)]
        assert events[1]["type"] == "gap"
        first = events[1]["before"]
        replayed = [receive(connection)["seq"] for _ in range(first, MESSAGES + 1)]
    assert replayed == list(range(first, MESSAGES + 1))
    assert 60 < len(replayed) < 66

    forwards, page = [], {"more": True}
    while page["more"]:
        page = person.history("long", f"?after={len(forwards)}")
        assert 60 < len(page["messages"]) < 66 or not page["more"]
        forwards += page["messages"]
    assert [message["seq"] for message in forwards] == list(range(1, MESSAGES + 1))

    backwards, page = [], {"more": True}
    while page["more"]:
        page = person.history("long", f"?before={backwards[0]['seq'] if backwards else MESSAGES + 1}")
        backwards[:0] = page["messages"]
    assert backwards == forwards
