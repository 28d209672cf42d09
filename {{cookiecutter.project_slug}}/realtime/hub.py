"""Subscriptions of this process, and the dispatch of layer messages to groups."""

import asyncio
import logging
import time
from collections import defaultdict
from functools import partial
from itertools import batched
from typing import Any

from channels.db import database_sync_to_async

from realtime.bus import Bus
from realtime.groups import TOGETHER_BYTES, Event, Group, Member
from realtime.history import History, Replay
from realtime.malformed import drop, drop_foreign
from realtime.presence import Presence
from realtime.protocol import size_of
from realtime.tasks import call_before_waiting, in_turns

logger = logging.getLogger(__name__)

PATIENCE = 1  # seconds for a subscription, then it continues in the background
TOGETHER = 100  # events for a group at once, or fewer for those who get each by a call of its own
TURN_SECONDS = 0.002  # yield to the event loop after this much work for layer messages


class Hub:
    """Subscriptions to the groups that have members here, and the dispatch of what arrives.

    One channel serves the whole process, instead of one for each connection: an event passes the
    channel layer once, however many members the group has.
    """

    def __init__(self, layer: Any, groups: dict[str, Group], bus: Bus) -> None:
        self.layer = layer
        self.groups = groups
        self.bus = bus
        self.left: set[Group] = set()  # by their last member
        # Events that arrived together, and their group.
        self.group: Group | None = None
        self.events: list[Event] = []
        self.size = 0

    @property
    def channel(self) -> str:
        return self.bus.channel

    # Members

    async def join(
        self, name: str, member: Member, history: History | None, presence: bool
    ) -> None:
        """Make a connection a member. With a history, events wait for `go_live`."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(name, history)
        if not isinstance(history, type(group.history)):
            raise ValueError(f"{name}: join() with and without a history cannot be mixed.")
        if presence and group.presence is None:
            self.add_presence(group)
        known = member.id in group.members
        membership = group.add(member)
        if group.presence is not None and not known:
            group.presence.add(member.user_id, member.user_name)
        if not group.subscribed:
            await self.subscribe(group)
        if history is None and not known:
            group.go_live(membership)

    def add_presence(self, group: Group) -> None:
        """Count the users of a group from now on, including those that joined before."""
        group.presence = Presence(group.notify, partial(self.bus.announce, [group.name]))
        group.subscribed = False  # to the announcements
        for membership in group.members.values():
            group.presence.add(membership.member.user_id, membership.member.user_name)

    def go_live(self, name: str, member: Member, after: int) -> None:
        """Deliver to a member what was held back beyond `after`, and what comes."""
        group = self.groups.get(name)
        if group is not None and (membership := group.members.get(member.id)):
            group.go_live(membership, after)

    async def plan_replay(self, name: str, history: History, after: int, until: int) -> Replay:
        """Plan a replay for a member of the group."""
        group = self.groups.get(name)
        if group is None:
            return await Replay.plan(history, after, until)
        return await group.plan_replay(history, after, until)

    def leave(self, name: str, member: Member) -> None:
        """End a membership. A group without members stays subscribed until the next beat.

        So those who come back at once need no new subscription.
        """
        group = self.groups.get(name)
        if group is None or not group.remove(member):
            return
        if group.presence is not None:
            group.presence.remove(member.user_id)
        if not group.members:
            self.left.add(group)

    async def end_left(self) -> None:
        """Unsubscribe from the groups that their last member has left."""
        while self.left:
            await self.end(self.left.pop())
            await asyncio.sleep(0)  # the layer in memory never waits

    async def end(self, group: Group) -> None:
        async with group.subscription:
            if group.members:
                return
            group.subscribed = False
            group.reset()
            try:
                for subscription in group.subscriptions():
                    await self.layer.group_discard(subscription, self.channel)
            except Exception:
                logger.exception("A group could not be left")
            if not group.members and self.groups.get(group.name) is group:
                if group.presence is not None:
                    group.presence.close()
                del self.groups[group.name]

    # Subscriptions

    async def subscribe(self, group: Group) -> None:
        """Subscribe to the group. While the layer is down, members are served from the history."""
        await asyncio.wait({self.bus.tasks.start(self.add_channel(group))}, timeout=PATIENCE)

    async def add_channel(self, group: Group) -> None:
        async with group.subscription:
            if not group.subscribed and self.groups.get(group.name) is group:
                subscriptions = group.subscriptions()
                for subscription in subscriptions:
                    await self.layer.group_add(subscription, self.channel)
                group.subscribed = subscriptions == group.subscriptions()
                if group.subscribed and not group.is_announced:
                    group.is_announced = True
                    self.bus.announce([group.name])

    def resubscribe(self, group: Group) -> None:
        """Retry a subscription that failed."""
        if not group.subscribed and not group.subscription.locked():
            self.bus.tasks.start(self.add_channel(group))

    # Layer messages

    async def receive(self) -> None:
        """Dispatch layer messages until the task is cancelled."""
        busy = 0.0
        while True:
            try:
                # Events are passed on before anything else runs.
                message = await call_before_waiting(self.pass_on, self.layer.receive(self.channel))
            except Exception:
                logger.exception("The channel layer failed")
                await asyncio.sleep(1)
            else:
                start = time.perf_counter()
                try:
                    self.dispatch(message)
                except Exception:  # goes on, or nothing would arrive any more
                    logger.exception("A layer message was not delivered")
                busy += time.perf_counter() - start
                if busy > TURN_SECONDS:
                    self.pass_on()
                    await asyncio.sleep(0)  # `receive` does not wait while messages are there
                    busy = 0.0

    def pass_on(self) -> None:
        """Pass the events that arrived together to their group."""
        if self.group is None:
            return
        group, events = self.group, self.events
        self.group, self.events, self.size = None, [], 0
        try:
            group.accept(events)
        except Exception:
            logger.exception("Events were not delivered")

    def dispatch(self, message: Any) -> None:
        """Collect events for a group, and pass another message to the bus. Drop unknown ones."""
        match message:
            case {
                "type": "realtime.event",
                "group": str(name),
                "text": str(text),
                "seq": int() | None as seq,
                "sender": str(sender),
            }:
                if group := self.groups.get(name):
                    if group is not self.group:
                        self.pass_on()
                        self.group = group
                    self.events.append(Event(seq, text, sender))
                    self.size += size_of(text)
                    sends = len(self.events) * (1 + len(group.indirect))
                    if sends >= TOGETHER or self.size >= TOGETHER_BYTES:
                        self.pass_on()
            case {"type": str(kind)} if not kind.startswith("realtime."):
                drop_foreign(kind)
            case _:
                self.pass_on()
                if not self.bus.dispatch(message):
                    drop("unknown type or wrong fields")

    async def find_lost_events(self) -> None:
        """Compare the numbers that were broadcast with those that are stored."""
        kinds: defaultdict[type[History], dict[str, Group]] = defaultdict(dict)

        def remember(group: Group) -> None:
            if group.history is not None:
                kinds[type(group.history)][group.history.key] = group

        await in_turns(remember, [*self.groups.values()])
        for kind, groups in kinds.items():
            latest = database_sync_to_async(kind.latest, thread_sensitive=False)
            for keys in batched(groups, 1000):
                for key, seq in (await latest(keys)).items():
                    groups[key].expect(seq)
