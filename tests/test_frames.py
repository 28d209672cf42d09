"""Frames that never become messages are counted on every server, and secrets stay out of the logs."""

import contextlib
import json
import socket
import statistics
import struct
import threading
import time

import httpx
import pytest
from emitted import bake, environ_for, run
from frames import CLOSE, CONTINUATION, PING, PONG, TEXT, Client, fragments, frame
from matrix import CHOICES, PYTHONS
from servers import start_site, wait_until

FLOODING = 4429
ROOM = "/ws/chat/room/"

SITES = [
    pytest.param((server, consumers), id=server, marks=pytest.mark.xdist_group(f"frames-{server}"))
    for server, consumers in zip(CHOICES["server"], ["async", "sync", "async"], strict=True)
]


@pytest.fixture(scope="module", params=SITES)
def start(request, cookies_session, environment):
    """A function that starts the site of a server with a level for its log, which begins anew, and other settings."""
    server, consumers = request.param
    project = bake(cookies_session, server=server, consumers=consumers, auth="none")
    python = environment(PYTHONS[-1], CHOICES["django_version"][0])
    environ = environ_for(python)
    run([str(python / "bin" / "python"), "manage.py", "migrate", "--verbosity", "0"], project, environ)

    def start(level, **settings):
        lines = ["from config.settings import *", *(f"{name} = {value!r}" for name, value in settings.items())]
        (project / "other_settings.py").write_text("\n".join(lines))
        project.parent.joinpath(f"{project.name}.log").unlink(missing_ok=True)
        variables = {"LOG_LEVEL": level, "DJANGO_SETTINGS_MODULE": "other_settings"}
        return start_site([str(python / "bin" / "python"), "-m", "config.server"], project, environ | variables)

    return start


@pytest.fixture(scope="module")
def site(start):
    with start("WARNING") as site:
        yield site


@contextlib.contextmanager
def conversation(site):
    """Another user's pings of the chat, whose median has to stay short meanwhile."""
    over, times = threading.Event(), []

    def talk(client):
        while not over.wait(0.1):
            start = time.monotonic()
            client.send(frame(TEXT, b'{"type":"ping"}'))
            while json.loads(client.receive()[1])["type"] != "pong":
                pass
            times.append(time.monotonic() - start)

    with Client(site, ROOM) as client:
        thread = threading.Thread(target=talk, args=[client])
        thread.start()
        time.sleep(1)
        quiet = statistics.median(times)
        times.clear()
        try:
            yield
        finally:
            over.set()
            thread.join()
    disturbed = statistics.median(times)
    print(f"{quiet * 1000:.1f} ms without, {disturbed * 1000:.1f} ms with, {len(times)} answers")
    assert disturbed < 10 * quiet + 0.03


def flood(site, data, seconds):
    """Send the same again and again, and connect again when that ends. Return the codes of the closes."""
    codes = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with Client(site, ROOM) as client:
            client.socket.settimeout(2)
            with contextlib.suppress(OSError):
                while time.monotonic() < deadline:
                    client.send(data)
            with contextlib.suppress(TimeoutError):
                codes.append(client.end())
    return codes


KINDS = {
    "pings": frame(PING, b"x") * 500,
    "empty pings": frame(PING) * 500,
    "pongs": frame(PONG) * 500,
    "empty fragments": frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 500,
    "short fragments": frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * 500,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_is_closed(site, kind):
    """Whatever the frames are, it gets 4429 as soon as the limit is reached."""
    before = site.open_sockets()
    with Client(site, ROOM) as client:
        client.send(KINDS[kind])
        assert client.end() == FLOODING
    wait_until(lambda: site.open_sockets() <= before, f"no more than {before} open sockets")


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_do_not_notice_a_flood(site, kind):
    """Others get their answers meanwhile, and the memory of the server stays as it is."""
    flood(site, KINDS[kind], 0.5)
    before = site.memory()
    with conversation(site):
        codes = flood(site, KINDS[kind], 2)
    assert codes
    assert set(codes) <= {FLOODING, None}
    assert site.memory() - before < 16


def test_a_message_has_a_bounded_number_of_fragments(start):
    """A client that stays within the rate cannot go on with a message for ever."""
    pieces = [b"x"] * 20
    with start("WARNING", REALTIME_MAX_FRAGMENTS=10) as site, Client(site, ROOM) as client:
        client.send(*fragments(TEXT, *pieces[:8]), *fragments(TEXT, *pieces))
        assert client.end() == 1009


def vanish(client):
    """Reset the connection, as a machine does that was switched off."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_logs_hold_no_secrets_and_no_tracebacks(start, level):
    """Query strings, headers and texts are the clients' own, and it is no error when a client vanishes."""
    event = b'{"type":"send","ref":"r","text":"sesame-text"}'
    headers = "Cookie: session=sesame-cookie\r\nAuthorization: Bearer sesame-token\r\n"
    query = "?ticket=sesame-ticket&q=sesame-query"
    with start(level) as site:
        clients = [Client(site, ROOM + query, headers) for _ in range(30)]
        for client in clients:
            client.send(frame(TEXT, event.replace(b'"r"', b'"%d"' % id(client))))
        for client in clients[::2]:
            vanish(client)
        for client in clients[1::4]:
            client.send(frame(TEXT, b"sesame-text \xff"))
            client.end()
        for client in clients[3::4]:
            client.send(frame(PING, b"sesame-text"), frame(CLOSE, b"\x03\xe8sesame-text"))
            client.end()
        for _ in range(30):
            vanish(Client(site, ROOM + query, headers))
        httpx.get(site.url + "/" + query, headers={"Authorization": "Bearer sesame-token"}, trust_env=False)
        time.sleep(1)
        site.terminate()
        log = site.log.read_text()
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if "sesame" in line][:5] == []


def test_the_end_has_exit_code_0(start):
    """SIGTERM is answered in bounded time, with open sockets and with a connection that is half a request."""
    with start("INFO") as site, Client(site, ROOM), socket.create_connection(("127.0.0.1", site.port)) as half:
        half.send(b"GET / HTTP/1.1\r\n")
        assert site.terminate() < 15
        assert site.process.returncode == 0
