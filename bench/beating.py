"""Heartbeats of a process with many rooms in the project of DJANGO_SETTINGS_MODULE: prints their cost as JSON.

Run as `beating.py ROOMS SECONDS`. Each room of the chat has one member with presence. For each phase: `pause` is the
longest work of the event loop in milliseconds between two looks, `collection` the longest garbage collection of Python,
which is not part of it, `cores` the used part of a core, `seconds` the time it took. Work is CPU time of the loop's
thread, which other programs do not lengthen. With Redis, a second process with members of the same rooms comes and
goes, and Redis drops the subscriptions.
"""

import asyncio
import gc
import json
import sys
import time
from asyncio.subprocess import PIPE
from itertools import batched

import django

django.setup()

from channels.layers import get_channel_layer  # noqa: E402
from chat.consumers import ChatConsumer  # noqa: E402
from chat.models import Room  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from realtime.process import get_process  # noqa: E402

AT_ONCE = 100  # handshakes


class Client:
    """Client of a room, which knows how many users are in it."""

    def __init__(self, room):
        self.scope = {"type": "websocket", "query_string": b"", "headers": [], "url_route": {"kwargs": {"room": room}}}
        self.incoming = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.live = asyncio.Event()
        self.users = 0

    async def send(self, message):
        text = message.get("text", "")
        if text.startswith('{"type":"presence"'):
            self.users = int(text.rpartition(":")[2].rstrip("}"))
            self.live.set()

    async def enter(self):
        """Open a socket. Return its task once the client is live."""
        serving = asyncio.create_task(ChatConsumer.as_asgi()(self.scope, self.incoming.get, self.send))
        await self.live.wait()
        return serving


async def enter(clients):
    """Let all into their rooms. Return the tasks of their sockets."""
    return [task for batch in batched(clients, AT_ONCE) for task in await asyncio.gather(*[c.enter() for c in batch])]


class Collections:
    """Garbage collections of Python, as a callback of them: seconds of the longest, and of all together."""

    def __init__(self):
        self.started = self.longest = self.all = 0.0

    def __call__(self, phase, info):
        if phase == "start":
            self.started = time.thread_time()
        else:
            seconds = time.thread_time() - self.started
            self.longest = max(self.longest, seconds)
            self.all += seconds


async def phase(work):
    """Return the longest pause of the loop during the work, and what it cost."""
    longest = 0.0
    collections = Collections()
    gc.callbacks.append(collections)

    async def watch():
        nonlocal longest
        while True:
            start = time.thread_time() - collections.all
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - collections.all - start)

    watching = asyncio.create_task(watch())
    start, used = time.perf_counter(), time.process_time()
    await work
    seconds, used = time.perf_counter() - start, time.process_time() - used
    watching.cancel()
    gc.callbacks.remove(collections)
    pauses = {"pause": longest * 1000, "collection": collections.longest * 1000}
    return {**pauses, "cores": used / seconds, "seconds": seconds}


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def all_see(clients, count):
    return lambda: all(client.users == count for client in clients)


async def arrive(clients):
    """Start a second process. Wait until all clients see its members."""
    neighbour = await asyncio.create_subprocess_exec(sys.executable, *sys.argv[:2], "0", stdin=PIPE)
    await until(all_see(clients, 2))
    return neighbour


async def stop(neighbour, clients):
    """Stop the second process. Wait until no client sees its members."""
    neighbour.stdin.close()
    await until(all_see(clients, 1))
    await neighbour.wait()


async def drop_subscriptions(names):
    """Disconnect from Redis what is subscribed. Wait until the last group receives again."""
    [shard] = get_channel_layer()._get_layer()._shards
    group = get_process().groups[names[-1]]
    await shard._redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    seen = []
    group.accept = seen.append
    await asyncio.sleep(0.5)
    while not seen:
        await get_channel_layer().group_send(
            group.name, {"type": "realtime.event", "group": group.name, "text": "{}", "seq": None, "sender": ""}
        )
        await asyncio.sleep(0.05)
    del group.accept


async def stay(clients):
    """Be the second process until the first one closes its end."""
    tasks = await enter(clients)
    await asyncio.to_thread(sys.stdin.read)
    await get_process().drain()
    await asyncio.wait(tasks)


async def measure(clients, seconds):
    phases = {"calm": await phase(asyncio.sleep(1))}
    tasks = await enter(clients)
    phases["beats"] = await phase(asyncio.sleep(seconds))
    if settings.REDIS_HOSTS:
        arriving = asyncio.create_task(arrive(clients))
        phases["another process starts"] = await phase(arriving)
        phases["another process stops"] = await phase(stop(arriving.result(), clients))
        phases["Redis drops the subscriptions"] = await phase(drop_subscriptions(list(get_process().groups)))
    phases["drain"] = await phase(asyncio.wait({*tasks, asyncio.create_task(get_process().drain())}))
    print(json.dumps(phases))


rooms, seconds = int(sys.argv[1]), float(sys.argv[2])
names = [f"room {number}" for number in range(rooms)]
if seconds:
    call_command("migrate", verbosity=0)
    Room.objects.bulk_create([Room(name=name) for name in names], batch_size=1000)


async def main():
    clients = [Client(name) for name in names]
    await (measure(clients, seconds) if seconds else stay(clients))


asyncio.run(main())
