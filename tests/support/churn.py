"""Visits to a room inside an emitted project, and what they leave behind.

`python churn.py SECONDS` lets some members stay while others join and leave. Prints one JSON object: `rate` (visits per
second), `heard` (how often each member received the event that was published last), `before` and `after` (the counts),
and `memory` (bytes) and `objects`, both before the first lap and after each. A warm-up is not counted.
"""

import asyncio
import gc
import json
import os
import sys
import threading
import time
from collections import Counter

import redis
from channels.layers import get_channel_layer
from config.asgi import application
from config.routing import websocket_urlpatterns  # isort: split

from chat.consumers import ChatConsumer
from django.urls import path
from realtime.broadcast import apublish
from realtime.consumers import RealtimeConsumer, SyncRealtimeConsumer

ROOM = "room-x"
JOIN = {"presence": True}
MEMBERS = 20
RATE = 1000  # visits per second, at most
AT_ONCE = 100
WARM_UP, LAPS = 5, 3  # seconds, and fractions of the seconds after them
REST = 5  # seconds for delayed work
PATIENCE = 10


class AsyncVisitor(RealtimeConsumer):
    """Consumer that joins the room."""

    own_channel = False

    async def joined(self):
        await self.join(ROOM, **JOIN)
        await self.send_event({"type": "welcome"})


class SyncVisitor(SyncRealtimeConsumer):
    """Sync consumer that joins the room."""

    own_channel = False

    def joined(self):
        self.join(ROOM, **JOIN)
        self.send_event({"type": "welcome"})


class Visit:
    """Connection to the application without a server."""

    def __init__(self):
        self.got = Counter()
        self.welcomed = asyncio.Event()
        self.inbox = asyncio.Queue()
        self.inbox.put_nowait({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/churn/", "query_string": b"", "headers": [], "subprotocols": []}
        self.task = asyncio.create_task(application(scope, self.inbox.get, self.send))

    async def send(self, message):
        if message["type"] == "websocket.send":
            kind = json.loads(message["text"])["type"]
            self.got[kind] += 1
            if kind == "welcome":
                self.welcomed.set()

    async def leave(self):
        self.inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


async def come_and_go(seconds):
    """Let visitors join and leave at once, RATE per second. Return their number."""
    start = time.monotonic()
    visits = started = 0

    async def visit():
        nonlocal visits
        visitor = Visit()
        await asyncio.wait_for(visitor.welcomed.wait(), PATIENCE)
        await visitor.leave()
        visits += 1

    async with asyncio.TaskGroup() as group:
        while (passed := time.monotonic() - start) < seconds:
            while started < passed * RATE and started - visits < AT_ONCE:
                group.create_task(visit())
                started += 1
            await asyncio.sleep(0.005)
    return visits


def counts():
    """Count everything that could be left behind, except memory. Garbage does not count."""
    layer = get_channel_layer()
    found = {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "groups": len(layer.groups),
        "members": sum(map(len, layer.groups.values())),
        "channels": len(layer.channels),
    }
    if url := os.environ.get("REDIS_URL"):
        with redis.Redis.from_url(url) as server:
            found["subscriptions"] = sum(number for _, number in server.pubsub_numsub(*server.pubsub_channels()))
            found["keys"] = server.dbsize()
            found["clients"] = len(server.client_list())
    gc.collect()
    found["consumers"] = sum(isinstance(thing, RealtimeConsumer | SyncRealtimeConsumer) for thing in gc.get_objects())
    return found


async def settled():
    """Return the counts once they stay the same, or after a while."""
    deadline, found = time.monotonic() + PATIENCE, [{}]
    while time.monotonic() < deadline and found[-3:] != [found[-1]] * 3:
        found.append(counts())
        await asyncio.sleep(0.5)
    return found[-1]


def memory():
    """Return the resident memory of this process in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def main(seconds):
    visitor = SyncVisitor if issubclass(ChatConsumer, SyncRealtimeConsumer) else AsyncVisitor
    websocket_urlpatterns.insert(0, path("churn/", visitor.as_asgi()))
    members = [Visit() for _ in range(MEMBERS)]
    for member in members:
        await asyncio.wait_for(member.welcomed.wait(), PATIENCE)
    await come_and_go(WARM_UP)
    await asyncio.sleep(REST)
    before = await settled()
    used, objects, visits = [memory()], [len(gc.get_objects())], 0
    for _ in range(LAPS):
        visits += await come_and_go(seconds / LAPS)
        after = await settled()
        used.append(memory())
        objects.append(len(gc.get_objects()))

    await apublish(ROOM, {"type": "news"})
    deadline = time.monotonic() + PATIENCE
    while not all(member.got["news"] for member in members) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    heard = [member.got["news"] for member in members]
    for member in members:
        await member.leave()
    report = {"rate": visits / seconds, "heard": heard, "before": before, "after": after}
    print(json.dumps({**report, "memory": used, "objects": objects}))


asyncio.run(main(float(sys.argv[1])))
