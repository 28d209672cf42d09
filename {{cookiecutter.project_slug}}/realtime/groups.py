"""Members of a group in this process, and the order of its events."""

import asyncio
import logging
import time
from typing import NamedTuple, Protocol

from realtime import metrics
from realtime.conf import settings
from realtime.history import History, Recent, Replay
from realtime.outbox import Outbox
from realtime.presence import Presence
from realtime.protocol import encode, frame_of, group_name, size_of
from realtime.types import Message, Write

logger = logging.getLogger(__name__)

REORDER_SECONDS = 0.05  # wait this long for a missing event before reading it from the history
TOGETHER_BYTES = 64 * 1024  # of events in one write, about what a transport holds
RECENT_SECONDS = 1  # replay from memory for this long, then read again what may have changed


class Event(NamedTuple):
    """Text for the members of a group.

    `seq` is the number in the history, 0 if the event changes a stored one, None without a number.
    """

    seq: int | None
    text: str
    sender: str = ""  # id of the connection that does not get it


class Member(Protocol):
    """Connection in a group."""

    id: str
    user_id: str
    user_name: str
    outbox: Outbox

    def is_signed_in(self, user: str | None, credential: str | None) -> bool: ...

    def end(self, code: int) -> None: ...

    async def drain(self) -> None: ...


def presence_name(name: str) -> str:
    """Name another group: members by `group_add` have no handler for announcements."""
    return group_name("presence", name)


class Membership:
    """One connection in one group. Events are held back until the membership is live."""

    __slots__ = ("after", "deliver", "group", "held", "member", "outbox")

    def __init__(self, group: "Group", member: Member) -> None:
        self.group = group
        self.member = member
        self.outbox = member.outbox
        self.deliver = member.outbox.deliver
        self.after = 0
        self.held: list[tuple[int, Message]] | None = []

    def hold(self, seq: int, frame: Message) -> None:
        assert self.held is not None
        if self.outbox.reserve(frame):
            self.held.append((seq, frame))

    def give_back(self) -> None:
        """Become an indirect member of the group again."""
        if self.group.direct.pop(self, None):
            self.group.indirect.add(self)
            self.outbox.borrowers = tuple(one for one in self.outbox.borrowers if one is not self)

    def go_live(self, after: int) -> None:
        """Deliver what was held back and is newer. Deliver everything at once from now on."""
        self.give_back()  # direct members get every event
        self.after = after
        held, self.held = self.held, None
        for seq, frame in held or ():
            self.outbox.release(frame)
            if seq == 0 or seq > after:
                self.deliver(frame)


class Group:
    """Members of a group in this process. Numbered events are broadcast in order."""

    def __init__(self, name: str, history: History | None = None) -> None:
        self.name = name
        self.history = history
        self.presence: Presence | None = None
        self.members: dict[str, Membership] = {}  # by connection id
        # Each is in one of these: members whose transport takes a frame at once, and the others.
        self.direct: dict[Membership, Write] = {}
        self.indirect: set[Membership] = set()
        self.subscription = asyncio.Lock()
        self.subscribed = False
        self.is_announced = True  # unless its users were to be sent before the subscription
        # Number of the last event that was broadcast. None until the first member is live.
        self.seq: int | None = None
        self.ahead: dict[int, str] = {}
        self.ahead_bytes = 0
        self.until = 0
        self.recent: Recent | None = None
        self.changes = 0  # to stored events
        self.readings: dict[tuple[int, int], asyncio.Task[Replay]] = {}
        self.catching_up: asyncio.Task[None] | None = None

    def add(self, member: Member) -> Membership:
        """Return the membership of a connection, a new one the first time."""
        if (membership := self.members.get(member.id)) is None:
            membership = self.members[member.id] = Membership(self, member)
            self.indirect.add(membership)
        return membership

    def remove(self, member: Member) -> bool:
        """End a membership. Return False if there is none."""
        if (membership := self.members.pop(member.id, None)) is None:
            return False
        membership.give_back()
        self.indirect.discard(membership)
        return True

    def subscriptions(self) -> list[str]:
        """Return the names to subscribe to in the channel layer."""
        return [self.name] if self.presence is None else [self.name, presence_name(self.name)]

    def accept(self, events: list[Event]) -> None:
        """Broadcast published events when all events before them have been broadcast."""
        ready: list[Event] = []
        last, numbered = self.seq, False
        for event in events:
            if event.seq == 0:
                self.recent = None
                self.changes += 1
            if not event.seq or self.history is None:
                ready.append(event._replace(seq=0))
                continue
            numbered = True
            if last is None or event.seq > last + 1:
                self.keep_ahead(event.seq, event.text)
            elif event.seq == last + 1:
                following = self.take_ahead(event.seq)
                ready += [Event(event.seq, event.text), *following]
                last = event.seq + len(following)
        self.broadcast_parts(ready)
        if numbered:
            self.expect(self.until)

    def keep_ahead(self, seq: int, text: str) -> None:
        """Keep an event that may have overtaken others. Above the limits the history has it."""
        self.until = max(self.until, seq)
        size = size_of(text)
        if (
            seq not in self.ahead
            and len(self.ahead) < settings.REALTIME_MAX_OUTBOX
            and self.ahead_bytes + size <= settings.REALTIME_MAX_OUTBOX_BYTES
        ):
            self.ahead[seq] = text
            self.ahead_bytes += size

    def forget_ahead(self, until: int) -> None:
        self.ahead = {seq: text for seq, text in self.ahead.items() if seq > until}
        self.ahead_bytes = sum(map(size_of, self.ahead.values()))

    def broadcast_parts(self, events: list[Event]) -> None:
        """Broadcast events, with about as many in one write as a transport holds."""
        part, size = [], 0
        for number, event in enumerate(events, 1):
            part.append(event)
            size += size_of(event.text)
            if event.seq:
                self.seq = event.seq
            if size > TOGETHER_BYTES or number == len(events):
                self.broadcast(part)
                part, size = [], 0

    def broadcast(self, events: list[Event]) -> None:
        """Deliver events to all members but their senders.

        Does not await, so membership cannot change meanwhile. A write takes longer than all else,
        so each transport that takes a frame at once gets those of all events in one write.
        """
        start = time.perf_counter()
        for event in events:
            if event.seq and self.recent is not None:
                self.recent.add(event.seq, event.text)
        messages = [
            (event.seq or 0, event.sender, {"type": "websocket.send", "text": event.text})
            for event in events
        ]
        together = b"".join([frame_of(event.text) for event in events])
        excluded = [event.sender for event in events if event.sender in self.members]
        # Copies, because a member whose transport is full becomes an indirect one.
        direct, indirect = [*self.direct.items()], [*self.indirect]
        for membership, write in direct:
            own = membership.member.id
            if own in excluded:
                for _, sender, message in messages:
                    if sender != own:
                        membership.deliver(message)
                continue
            try:
                write(together)
            except Exception:  # the transport has just ended
                membership.outbox.give_back()
                for _, _, message in messages:
                    membership.deliver(message)
        for membership in indirect:
            for seq, sender, message in messages:
                if sender == membership.member.id:
                    continue
                if membership.held is not None:
                    membership.hold(seq, message)
                elif seq == 0 or seq > membership.after:
                    self.borrow(membership)
                    membership.deliver(message)
        metrics.SENT.inc(len(events) * len(self.members) - len(excluded))
        seconds = time.perf_counter() - start
        for _ in events:
            metrics.FANOUT.observe(seconds)

    def borrow(self, membership: Membership) -> None:
        """Make a member a direct one if its transport takes frames, and it gets every event."""
        if membership.after > (self.seq or 0):
            return
        if (write := membership.outbox.borrow()) is not None:
            self.indirect.discard(membership)
            self.direct[membership] = write
            membership.outbox.borrowers += (membership,)

    def take_ahead(self, last: int) -> list[Event]:
        """Remove and return the next events. The others wait for those before them."""
        events: list[Event] = []
        while (text := self.ahead.pop(last + len(events) + 1, None)) is not None:
            self.ahead_bytes -= size_of(text)
            events.append(Event(last + len(events) + 1, text))
        return events

    def expect(self, seq: int) -> None:
        """Broadcast the events up to this number, from the history if they do not arrive."""
        self.until = max(self.until, seq)
        if self.seq is not None and self.until > self.seq and self.catching_up is None:
            self.catching_up = asyncio.create_task(self.catch_up())

    async def catch_up(self) -> None:
        assert self.history is not None
        try:
            # Two events that were published at the same time may overtake each other.
            await asyncio.sleep(REORDER_SECONDS)
            while self.seq is not None and self.seq < self.until and self.members:
                until = self.until
                replay = await Replay.plan(self.history, self.seq, until, thread_sensitive=False)
                if self.seq is not None and replay.after > self.seq:
                    gap = {"type": "gap", "after": self.seq, "before": replay.after + 1}
                    self.recent = None
                    self.broadcast([Event(replay.after, encode(gap))])
                    self.seq = replay.after
                async for chunk in replay.chunks():
                    for seq, text in chunk:
                        if self.seq is not None and seq > self.seq:
                            self.seq = seq
                            self.broadcast([Event(seq, text)])
                if self.seq is not None:
                    self.seq = max(self.seq, until)  # events missing in the history were deleted
                    self.forget_ahead(self.seq)
        except Exception:
            # The database is unavailable. The next heartbeat retries.
            logger.exception("Group %s could not catch up", self.name)
        finally:
            self.catching_up = None

    def reset(self) -> None:
        """Forget the order of events when the last member has left."""
        self.seq = self.recent = None
        self.until = self.ahead_bytes = 0
        self.ahead.clear()

    async def plan_replay(self, history: History, after: int, until: int) -> Replay:
        """Plan a replay for a member. Those who join at the same time share the first chunk."""
        events = self.recent.between(after, until) if self.recent is not None else None
        if events is not None:
            return Replay(history, after, [until], events, thread_sensitive=True)
        key = after, until
        if (reading := self.readings.get(key)) is None:
            reading = asyncio.create_task(self.read(history, after, until))
            self.readings[key] = reading
            reading.add_done_callback(lambda _: self.readings.pop(key))
        return await asyncio.shield(reading)

    async def read(self, history: History, after: int, until: int) -> Replay:
        """Plan a replay from the database, and keep its events if they are a single chunk."""
        changes = self.changes
        replay = await Replay.plan(history, after, until)
        if len(replay.ends) == 1 and self.changes == changes:
            self.keep(Recent(replay.after, until, replay.first))
        return replay

    def keep(self, recent: Recent) -> None:
        """Keep events for a short time: stored ones may change without an event."""
        self.recent = recent
        asyncio.get_running_loop().call_later(RECENT_SECONDS, self.forget, recent)

    def forget(self, recent: Recent) -> None:
        if self.recent is recent:
            self.recent = None

    def notify(self, text: str) -> None:
        """Deliver an event that is not stored, and of use to live members only."""
        for membership in self.members.values():
            if membership.held is None:
                membership.outbox.reply(text)

    def go_live(self, membership: Membership, after: int | None = None) -> None:
        """Deliver the events beyond `after` to a member from now on, and who is present.

        `after` is None for a member without a history.
        """
        membership.go_live(after or 0)
        if after is not None and self.history is not None and self.seq is None:
            self.seq = after
            self.forget_ahead(after)
            self.broadcast_parts(self.take_ahead(after))
            self.expect(self.until)
        if self.presence is not None:
            membership.outbox.reply(self.presence.show())
