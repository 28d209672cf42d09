"""Everything that one process of the site shares: groups, connections, limits, heartbeats."""

import asyncio
import itertools
import logging
import threading
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from channels.layers import get_channel_layer

from realtime import bus
from realtime.connection_limit import RENEWAL_BEATS, get_connection_limit
from realtime.groups import Group, Member
from realtime.hub import Hub
from realtime.rate_limit import Bucket
from realtime.revalidation import SignedIn, revalidate_forever
from realtime.tasks import in_turns, start_apart
from realtime.types import start

logger = logging.getLogger(__name__)

is_serving = False  # this is a process of a server
processes: WeakKeyDictionary[asyncio.AbstractEventLoop, "Process"] = WeakKeyDictionary()


def get_process() -> "Process":
    """Return the process of the running event loop: one per process of the site, except in tests.

    Raise RuntimeError if the project has no channel layer.
    """
    loop = asyncio.get_running_loop()
    if loop not in processes:
        processes[loop] = Process()
    return processes[loop]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of the sockets, or of a worker, or None if neither is here."""
    return next((loop for loop in processes if loop.is_running()), None)


def keep_channel_layer() -> None:
    """Run an event loop in which a program publishes. Otherwise each event opens a connection."""
    loop = asyncio.new_event_loop()
    loop.call_soon(get_process)
    threading.Thread(target=loop.run_forever, name="channel-layer", daemon=True).start()


class Connection(Member, SignedIn, Protocol):
    """Open socket."""


class Process:
    """One process of the site, from its first socket to the end of its drain."""

    def __init__(self) -> None:
        self.layer: Any = get_channel_layer()
        if self.layer is None:
            raise RuntimeError("CHANNEL_LAYERS: no default layer. Add one, see realtime/README.md.")
        self.connections: set[Connection] = set()
        self.groups: dict[str, Group] = {}
        self.bus = bus.Bus(self.layer, self.groups, self.connections)
        self.hub = Hub(self.layer, self.groups, self.bus)
        self.connection_limit = get_connection_limit()
        self.buckets: WeakValueDictionary[str, Bucket] = WeakValueDictionary()  # by user id
        self.starting = asyncio.Lock()
        self.tasks: list[asyncio.Task[None]] = []
        self.draining = False

    async def start(self) -> None:
        """Subscribe to the messages between processes, the first time."""
        if self.tasks:
            return
        async with self.starting:
            if self.tasks:
                return
            self.bus.channel = self.bus.channel or await self.layer.new_channel()
            self.groups[bus.PROCESSES] = Group(bus.PROCESSES)
            await self.hub.subscribe(self.groups[bus.PROCESSES])
            work = self.hub.receive(), self.beat(), revalidate_forever(self.connections)
            self.tasks += map(start_apart, work)

    async def beat(self) -> None:
        """Send heartbeats, and repair what was lost since the last one."""
        for beat in itertools.count():
            self.bus.send_heartbeat()
            await asyncio.sleep(bus.HEARTBEAT_SECONDS)
            self.bus.forget_expired()
            if beat % RENEWAL_BEATS == 0:
                self.bus.tasks.start(self.connection_limit.renew())
            self.bus.tasks.start(self.hub.end_left())
            await self.look_after_groups(beat)
            try:
                await self.hub.find_lost_events()
            except Exception:
                logger.exception("The database was not asked for lost events")

    async def look_after_groups(self, beat: int) -> None:
        """Subscribe to the groups that lack it, and announce those that are due."""

        def look_after(group: Group) -> None:
            self.hub.resubscribe(group)
            self.bus.announce_again(group, beat)

        await in_turns(look_after, [*self.groups.values()])

    async def drain(self) -> None:
        """Stop accepting sockets. Close each open one with 4012 after its last frame is handled."""
        self.draining = self.bus.closed = True
        drains: list[asyncio.Task[None]] = []
        await in_turns(lambda one: drains.append(start(one.drain())), [*self.connections])
        for one in drains:  # `gather` would look at all of them in one turn of the event loop
            await one
        if self.tasks:
            await self.bus.close()
        while self.tasks:
            self.tasks.pop().cancel()
        await self.connection_limit.close()
