"""A client that floods with any kind of frame is closed, and other clients lose no event."""

import asyncio
import contextlib
import itertools
import json
import select
import socket
import statistics
import time

import pytest
from support.client import Person
from support.emitted import bake, environ_for, run
from support.faults import open_room, wait_for
from support.matrix import CHOICES, PYTHONS, combinations, spread
from support.servers import start_site, wait_until
from websockets.exceptions import ConnectionClosed

RATE, BURST = 20, 40  # frames of a user per second, and at once
MEMBERS, MESSAGES = 20, 10  # in the room, and per client
SECONDS = 2  # of chat, and of a flood that is not stopped
PATIENCE = 20

TEXT, CLOSE, PING, PONG = b"\x01", 8, b"\x89", b"\x8a"
EMPTY = b"\x80" + bytes(4)  # the length of a masked frame without content, and its mask
FLOODS = {
    "pings": (b"", PING + EMPTY),
    "pongs": (b"", PONG + EMPTY),
    "fragments": (TEXT + EMPTY, b"\x00" + EMPTY),
    "messages": (b"", b"\x81\x8f" + bytes(4) + b'{"type":"ping"}'),
}

SITES = [
    pytest.param(answers, id=answers["server"], marks=pytest.mark.xdist_group(f"floods-{answers['server']}"))
    for answers in spread(combinations("server"), consumers=CHOICES["consumers"][::-1])
]


@pytest.fixture(scope="module", params=SITES)
def site(request, cookies_session, environment):
    """A site of guests."""
    project = bake(cookies_session, **request.param, auth="none")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), LOG_LEVEL="WARNING")
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    with start_site(["uv", "run", "python", "manage.py", "serve"], project, environ) as site:
        yield site


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_is_closed_and_others_lose_nothing(kind, site):
    """A flooding client gets 4429, whatever it sends, and leaves no open socket."""
    before = site.open_sockets()
    code, seconds, delays = asyncio.run(talk_beside_a_flood(site, kind))
    hundredths = statistics.quantiles(delays, n=100)
    print(f"{kind}: closed with {code} after {seconds:.2f} s; others {hundredths[49]:.4f}, {hundredths[98]:.4f} s")
    assert code == 4429
    wait_until(lambda: site.open_sockets() <= before, f"no more than {before} open sockets")


async def talk_beside_a_flood(site, kind):
    """Return the close code, the seconds until it came, and the delays of the other clients."""
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        members = [await stack.enter_async_context(open_room(site, kind, ping_interval=None)) for _ in range(MEMBERS)]
        heard, delays = [[] for _ in members], []
        for connection, texts in zip(members, heard, strict=True):
            tasks.create_task(listen(connection, texts, delays))
        flooding = asyncio.create_task(asyncio.to_thread(flood, site, kind, *FLOODS[kind]))
        for _ in range(MESSAGES):
            for connection in members:
                ref = str(time.monotonic())
                await connection.send(json.dumps({"type": "send", "ref": ref, "text": ref}))
            await asyncio.sleep(SECONDS / MESSAGES)
        everything = MEMBERS * MESSAGES
        await wait_for(lambda: all(len(texts) == everything for texts in heard), lambda: [*map(len, heard)], PATIENCE)
        assert all(texts == heard[0] for texts in heard)
        code, seconds = await flooding
        for connection in members:
            await connection.close()
    return code, seconds, delays


async def listen(connection, texts, delays):
    with contextlib.suppress(ConnectionClosed):
        async for frame in connection:
            event = json.loads(frame)
            if event["type"] == "message":
                texts.append(event["text"])
                delays.append(time.monotonic() - float(event["text"]))
            assert event["type"] != "error", event


def flood(site, room, first, frame):
    """Send a frame as fast as possible. Return the close code or None, and the seconds until it came."""
    head = (
        f"GET /ws/chat/{room}/ HTTP/1.1",
        f"Host: 127.0.0.1:{site.port}",
        f"Origin: {site.url}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
    )
    with socket.create_connection(("127.0.0.1", site.port), PATIENCE) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        received = b""
        while b'"welcome"' not in received:
            received += connection.recv(65536)
        received = received.partition(b"\r\n\r\n")[2]
        connection.setblocking(False)
        start = time.monotonic()
        pending = memoryview(first + frame * 4096)
        sending = True
        while time.monotonic() < start + (SECONDS if sending else PATIENCE):
            readable, writable, _ = select.select([connection], [connection] if sending else [], [], 0.1)
            try:
                if readable:
                    data = connection.recv(65536)
                    received = frames_of(received + data)
                    if len(received) >= 4 and received[0] & 15 == CLOSE:
                        return int.from_bytes(received[2:4]), time.monotonic() - start
                    if not data:
                        break
            except ConnectionResetError:
                break
            try:
                if writable:
                    pending = pending[connection.send(pending) :] or memoryview(frame * 4096)
            except BlockingIOError:
                pass
            except OSError:
                sending = False  # the server stopped reading, perhaps after its close frame
    return None, time.monotonic() - start


def frames_of(data):
    """Skip complete frames of a server up to a close. Return the rest."""
    while len(data) >= 4 and data[0] & 15 != CLOSE:
        length, offset = data[1], 2
        if length > 125:
            offset = {126: 4, 127: 10}[length]
            length = int.from_bytes(data[2:offset])
        if len(data) < offset + length:
            break
        data = data[offset + length :]
    return data


def test_ten_sockets_have_the_rate_of_their_user(site):
    """More sockets, or sockets that reconnect, do not let a user store more messages per second."""
    person = Person(site, "none")
    seconds = asyncio.run(talk_at_once(site, person))
    stored = len(person.history("ten")["messages"])
    print(f"{stored} messages in {seconds:.1f} s")
    assert BURST <= stored <= BURST + RATE * (seconds + 1)


async def talk_at_once(site, person):
    """Send at ten times the rate of a user over ten sockets. Return the seconds."""
    start = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(talk_and_reconnect(site, person, number, start + SECONDS))
    return time.monotonic() - start


async def talk_and_reconnect(site, person, number, end):
    refs = (f"{number}-{count}" for count in itertools.count())
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionClosed):
            async with open_room(site, "ten", additional_headers=person.headers(), max_queue=None) as connection:
                for ref in itertools.islice(refs, 20):
                    await connection.send(json.dumps({"type": "send", "ref": ref, "text": ref}))
                    await asyncio.sleep(1 / RATE)
