"""A client that does not read and a client that floods do not disturb the others in the room."""

import asyncio
import contextlib
import json
import socket
import statistics
import time
from collections import Counter

import pytest
from support.client import Person
from support.emitted import bake, environ_for, run
from support.faults import Client, open_room, wait_for
from support.matrix import CHOICES, PYTHONS, combinations, spread
from support.servers import start_site
from websockets.exceptions import ConnectionClosed

MEMBERS, SPEAKERS = 200, 5
EVENTS, RATE = 100, 20  # in each phase, and per second
PATIENCE = 15
TEXT = "🐌" * 4000  # 16 KB as UTF-8
FULL = 450  # more of these than fit a socket's buffers, which end at 4 MB in Linux
OVERFULL = 750  # more of these than fit the buffers and an outbox of 256

SITES = [
    pytest.param(answers, id=answers["server"], marks=pytest.mark.xdist_group(f"crowd-{answers['server']}"))
    for answers in spread(combinations("server"), "consumers")
]


@pytest.fixture(scope="module", params=SITES)
def site(request, cookies_session, environment):
    """A site of guests, with many messages in the room `crowd`."""
    project = bake(cookies_session, **request.param, auth="none")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), LOG_LEVEL="WARNING")
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    fill = (
        "from chat.models import *\n"
        f"for n in range({FULL}): store_message(Draft('crowd', '1', 'ann', str(n), {TEXT!r}))"
    )
    run(["uv", "run", "python", "manage.py", "shell", "-c", fill], project, environ)
    with start_site(["uv", "run", "python", "manage.py", "serve"], project, environ) as site:
        yield site


def lazy_room(site, room, query):
    """Open a connection whose client reads only on request: `open_room()` with small buffers."""
    connection = socket.create_connection(("127.0.0.1", site.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    connection.setblocking(False)
    return open_room(site, room, query, sock=connection, max_queue=1, ping_interval=None)


class Member:
    """A guest in the crowd, with the typing events that it received."""

    def __init__(self, connection):
        self.connection = connection
        self.name = None
        self.heard = Counter()  # by sender
        self.delays = []

    async def listen(self, typed):
        async for frame in self.connection:
            event = json.loads(frame)
            if event["type"] == "welcome":
                self.name = event["user"]
            elif event["type"] == "typing":
                user = event["user"]
                self.delays.append(time.monotonic() - typed[user][self.heard[user]])
                self.heard[user] += 1


def test_neighbours_do_not_notice(site):
    """In a room of 200, all others receive every event, and the flooding client is closed with 4429 each time."""
    print(site.log.name, *asyncio.run(crowd(site)))


async def crowd(site):
    """Let some members type, first undisturbed. Return the delays of each phase, for people to read."""
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        query = f"?after={FULL}"
        members = [
            Member(await stack.enter_async_context(open_room(site, "crowd", query, ping_interval=None)))
            for _ in range(MEMBERS)
        ]
        typed = {}
        listening = [tasks.create_task(member.listen(typed)) for member in members]
        await wait_for(lambda: all(member.name for member in members), lambda: "everybody's welcome", PATIENCE)
        undisturbed = await type_and_hear(members, typed)

        # All messages are sent to this client, which reads none.
        await stack.enter_async_context(lazy_room(site, "crowd", "?after=0"))
        over = asyncio.Event()
        flooding = tasks.create_task(flood(site, query, over))
        disturbed = await type_and_hear(members, typed)
        over.set()
        assert await flooding > 0
        for task in listening:
            task.cancel()
    return [describe(delays) for delays in (undisturbed, disturbed)]


async def type_and_hear(members, typed):
    """Let some members type in turns until all others have received it. Return the delays."""
    for number in range(EVENTS):
        speaker = members[number % SPEAKERS]
        typed.setdefault(speaker.name, []).append(time.monotonic())
        await speaker.connection.send('{"type":"typing"}')
        await asyncio.sleep(1 / RATE)

    def deaf():
        wanted = {name: len(times) for name, times in typed.items()}
        return [member.heard for member in members if member.heard | {member.name: 0} != wanted | {member.name: 0}]

    await wait_for(lambda: not deaf(), lambda: f"every event received by {deaf()}", PATIENCE)
    delays = [delay for member in members for delay in member.delays]
    for member in members:
        member.delays.clear()
    return delays


def describe(delays):
    hundredths = statistics.quantiles(delays, n=100)
    return f"{len(delays)} events, p50 {hundredths[49] * 1000:.1f} ms, p99 {hundredths[98] * 1000:.1f} ms;"


async def flood(site, query, over):
    """Send more pings than allowed, and reconnect for more. Return the number of closes for that."""
    times = 0
    while not over.is_set():
        async with open_room(site, "crowd", query) as connection:
            sending = asyncio.create_task(ping_on(connection))
            answers = Counter()
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(PATIENCE):
                    while True:
                        event = json.loads(await connection.recv())
                        answers[event.get("code", event["type"])] += 1
            await sending
            code = closed.value.rcvd and closed.value.rcvd.code
            assert (code, answers["rate_limited"] in (199, 200)) == (4429, True), answers
        times += 1
        await asyncio.sleep(0.5)
    return times


async def ping_on(connection):
    with contextlib.suppress(ConnectionClosed):
        while True:
            await connection.send('{"type":"ping"}')
            await asyncio.sleep(0)


def test_client_that_never_reads_is_closed_and_loses_nothing(site):
    """The client finds the socket closed with 4408 or cut off before it has read all, and gets the rest on resume."""
    people = [Person(site, "none") for _ in range(SPEAKERS)]
    asyncio.run(talk_to_a_wall(site, people))


async def talk_to_a_wall(site, people):
    async with asyncio.TaskGroup() as tasks, lazy_room(site, "wall", "?after=0") as wall:
        assert json.loads(await wall.recv())["type"] == "welcome"
        clients = [Client(person, "wall") for person in people]
        listening = [tasks.create_task(client.listen()) for client in clients]
        async with asyncio.TaskGroup() as talking:
            for client in clients:
                talking.create_task(monologue(client, OVERFULL // len(clients)))
        await wait_for(
            lambda: all(client.last == OVERFULL for client in clients),
            lambda: f"every event received by {[*map(str, clients)]}",
            PATIENCE,
        )

        late = Client(people[0], "wall")
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(PATIENCE):
                while late.last < OVERFULL:
                    event = json.loads(await wall.recv())
                    if event["type"] == "message":
                        late.take(event)
        assert closed.value.rcvd is None or closed.value.rcvd.code == 4408
        listening.append(tasks.create_task(late.listen()))
        await wait_for(lambda: late.last == OVERFULL, lambda: f"the rest for {late}", PATIENCE)
        assert late.messages == clients[0].messages
        for task in listening:
            task.cancel()


async def monologue(client, messages):
    """Send this many messages, a little below the limit."""
    for number in range(messages):
        await client.say(f"{id(client)}-{number}", TEXT)
        await asyncio.sleep(0.06)
