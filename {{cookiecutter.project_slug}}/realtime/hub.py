"""What connects this process to the channel layer, and feeds the members of all groups."""

import asyncio
import contextvars
import logging
import time
from collections import defaultdict
from collections.abc import Coroutine
from itertools import batched
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer

from realtime.connection_limit import get_connection_limit
from realtime.history import History
from realtime.malformed import drop
from realtime.presence import Presence
from realtime.protocol import Close
from realtime.topic import Membership, Topic

if TYPE_CHECKING:
    from realtime.lifecycle import Lifecycle
    from realtime.limits import Bucket

logger = logging.getLogger(__name__)

PROCESSES = "realtime.processes"  # the group that all processes are in
HEARTBEAT_SECONDS = 5
SILENCE_SECONDS = 17  # without a heartbeat: the process is considered dead
SIGN_IN_SECONDS = 60  # for which a sign-out is remembered, longer than any handshake takes
REFRESH_SECONDS = 60  # how often presence is announced without a change
PATIENCE = 1  # seconds for a subscription, which a member waits for

hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, "Hub"] = WeakKeyDictionary()


def get_hub() -> "Hub":
    """The hub of the running event loop, which is one per process but in tests."""
    loop = asyncio.get_running_loop()
    if loop not in hubs:
        hubs[loop] = Hub()
    return hubs[loop]


class Hub:
    """Subscribes to groups while they have members here, and passes on what arrives.

    One channel for the whole process, instead of one for each connection: an event comes through
    the channel layer once, however many members the group has.
    """

    def __init__(self) -> None:
        layer = get_channel_layer()
        assert layer is not None
        self.layer: Any = layer
        self.channel = ""
        self.starting = asyncio.Lock()
        self.tasks: list[asyncio.Task[None]] = []
        self.saying: set[asyncio.Task[None]] = set()
        self.connections: set[Lifecycle] = set()
        self.topics: dict[str, Topic] = {}
        self.processes: dict[str, float] = {}
        self.announced: dict[str, float] = {}
        self.signed_out: dict[tuple[str, str | None], float] = {}
        self.connection_limit = get_connection_limit()
        self.buckets: WeakValueDictionary[str, Bucket] = WeakValueDictionary()  # by user
        self.draining = False

    async def start(self) -> None:
        """Subscribe to what the processes tell each other, the first time."""
        if self.tasks:
            return
        async with self.starting:
            if self.tasks:
                return
            self.channel = self.channel or await self.layer.new_channel()
            self.topics[PROCESSES] = self.new_topic(PROCESSES, None, presence=False)
            await self.subscribe(self.topics[PROCESSES])
            for work in (self.read(), self.beat()):
                # A context of its own: not that of the connection which happened to come first.
                self.tasks.append(asyncio.create_task(work, context=contextvars.Context()))

    # Members

    async def join(
        self, group: str, member: "Lifecycle", history: History | None, presence: bool
    ) -> None:
        """Make a connection a member; events wait for its `go_live` where there is a history."""
        topic = self.topics.get(group)
        if topic is None:
            topic = self.topics[group] = self.new_topic(group, history, presence)
        topic.members[member.id] = Membership(member.outbox, live=history is None)
        if topic.presence is not None:
            topic.presence.enter(member.user_name)
        if not topic.subscribed:
            await self.subscribe(topic)

    async def subscribe(self, topic: Topic) -> None:
        """Subscribe to the group. While the layer is down, members are served from the history."""
        await asyncio.wait({self.say(self.listen(topic))}, timeout=PATIENCE)

    async def listen(self, topic: Topic) -> None:
        async with topic.subscription:
            if not topic.subscribed and self.topics.get(topic.group) is topic:
                await self.layer.group_add(topic.group, self.channel)
                topic.subscribed = True

    async def leave(self, group: str, member: "Lifecycle") -> None:
        """End a membership; the last one to leave drops the subscription."""
        topic = self.topics.get(group)
        if topic is None or topic.members.pop(member.id, None) is None:
            return
        if topic.presence is not None:
            topic.presence.leave(member.user_name)
        if topic.members:
            return
        async with topic.subscription:
            if topic.members:
                return
            topic.subscribed = False
            topic.reset()
            try:
                await self.layer.group_discard(group, self.channel)
            finally:
                if not topic.members and self.topics.get(group) is topic:
                    del self.topics[group]
                    self.announced.pop(group, None)

    def go_live(self, group: str, member: "Lifecycle", after: int) -> None:
        """Pass on to a member what was kept back beyond `after`, and what comes."""
        topic = self.topics.get(group)
        if topic is not None and (membership := topic.members.get(member.id)):
            topic.go_live(membership, after)

    def new_topic(self, group: str, history: History | None, presence: bool) -> Topic:
        topic = Topic(group, history, None)
        if presence:
            topic.presence = Presence(topic.tell, lambda: self.announce(topic))
        return topic

    # What arrives from the channel layer

    async def read(self) -> None:
        while True:
            try:
                message = await self.layer.receive(self.channel)
            except Exception:
                logger.exception("The channel layer failed")
                await asyncio.sleep(1)
            else:
                self.take(message)

    def take(self, message: Any) -> None:
        """Act on a layer message, and drop one of which the fields are not as we send them."""
        match message:
            case {
                "type": "realtime.event",
                "group": str(group),
                "text": str(),
                "seq": int() | None,
                "sender": str(),
            }:
                if topic := self.topics.get(group):
                    topic.take(message)
            case {
                "type": "realtime.users",
                "group": str(group),
                "process": str(process),
                "users": [*users],
            } if all(isinstance(user, str) for user in users):
                self.hear_users(group, process, users)
            case {"type": "realtime.heartbeat", "process": str(process)}:
                self.hear_heartbeat(process)
            case {"type": "realtime.who"}:
                self.announce_all(older_than=0)
            case {"type": "realtime.goodbye", "process": str(process)}:
                self.forget(process)
            case {"type": "realtime.sign_out", "user": str(user), "credential": credential} if (
                credential is None or isinstance(credential, str)
            ):
                self.sign_out(user, credential)
            case _:
                drop("unknown type or wrong fields")

    def hear_users(self, group: str, process: str, users: list[str]) -> None:
        topic = self.topics.get(group)
        if topic and topic.presence and process != self.channel:
            self.processes[process] = time.monotonic()
            topic.presence.hear(process, users)

    def hear_heartbeat(self, process: str) -> None:
        if process not in self.processes and process != self.channel:
            self.say(self.layer.send(process, {"type": "realtime.who"}))
        self.processes[process] = time.monotonic()

    def forget(self, process: str) -> None:
        self.processes.pop(process, None)
        for topic in self.topics.values():
            if topic.presence:
                topic.presence.forget(process)

    def sign_out(self, user: str, credential: str | None) -> None:
        """Close the sockets of a user, and those whose sign-in is being looked up just now."""
        self.signed_out[user, credential] = time.monotonic()
        for connection in list(self.connections):
            own = connection.scope["credential"]
            if connection.user_name == user and credential in (None, own):
                connection.end(Close.SIGNED_OUT)

    def knows_sign_out(self, user: str, credential: str | None, since: float) -> bool:
        """Tell whether the user signed out after the sign-in was looked up."""
        times = (self.signed_out.get((user, own), 0.0) for own in (None, credential))
        return max(times) > since

    # What is said to the other processes

    def announce(self, topic: Topic) -> None:
        """Tell the other processes who is in a group here."""
        assert topic.presence is not None
        if not self.tasks:
            return  # after the goodbye
        self.announced[topic.group] = time.monotonic()
        users = {"group": topic.group, "process": self.channel, "users": list(topic.presence.here)}
        self.say(self.layer.group_send(topic.group, {"type": "realtime.users", **users}))

    def announce_all(self, *, older_than: float) -> None:
        """Announce again what was announced before so many seconds."""
        due = time.monotonic() - older_than
        for topic in self.topics.values():
            if topic.presence and self.announced.get(topic.group, 0) <= due:
                self.announce(topic)

    async def tell_all(self, message: dict[str, Any]) -> None:
        """Act on a message at once, and let the others as soon as the channel layer answers."""
        self.take(message)
        self.say(self.insist(message))

    async def insist(self, message: dict[str, Any]) -> None:
        """Send to every process, retrying until it works.

        After a failure send twice: another process may resubscribe after our first success.
        """
        failed = False
        while True:
            try:
                await self.layer.group_send(PROCESSES, message)
                if not failed:
                    return
                failed = False
            except Exception as error:
                failed = True
                logger.warning("The other processes were not reached: %s", error)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def say(self, message: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Send something without waiting for it."""
        task = asyncio.create_task(message)
        self.saying.add(task)
        task.add_done_callback(self.said)
        return task

    def said(self, task: asyncio.Task[None]) -> None:
        self.saying.discard(task)
        if not task.cancelled() and task.exception():
            logger.warning("The other processes were not reached: %s", task.exception())

    async def beat(self) -> None:
        """Say regularly that this process lives, and look whether anything was lost."""
        while True:
            heartbeat = {"type": "realtime.heartbeat", "process": self.channel}
            self.say(self.layer.group_send(PROCESSES, heartbeat))
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self.forget_the_dead()
            for topic in self.topics.values():
                if not topic.subscribed and not topic.subscription.locked():
                    self.say(self.listen(topic))
            self.announce_all(older_than=REFRESH_SECONDS)
            self.signed_out = {
                who: at
                for who, at in self.signed_out.items()
                if time.monotonic() - at < SIGN_IN_SECONDS
            }
            self.say(self.connection_limit.renew())
            try:
                await self.look_for_lost_events()
            except Exception:
                logger.exception("The database could not be asked for lost events")

    def forget_the_dead(self) -> None:
        """Forget processes without a heartbeat, unless our own does not arrive either."""
        now = time.monotonic()
        if now - self.processes.get(self.channel, 0) < 2 * HEARTBEAT_SECONDS:
            for process, heard in list(self.processes.items()):
                if now - heard > SILENCE_SECONDS:
                    self.forget(process)

    async def look_for_lost_events(self) -> None:
        """Compare the numbers that went out with those that are stored."""
        kinds: defaultdict[type[History], dict[str, Topic]] = defaultdict(dict)
        for topic in self.topics.values():
            if topic.history is not None:
                kinds[type(topic.history)][topic.history.key] = topic
        for kind, topics in kinds.items():
            latest = database_sync_to_async(kind.latest, thread_sensitive=False)
            for keys in batched(topics, 1000):
                for key, seq in (await latest(keys)).items():
                    topics[key].expect(seq)

    async def drain(self) -> None:
        """Stop accepting sockets. Close each open one with 4012 after its last frame is handled."""
        self.draining = True
        await asyncio.gather(*[connection.go_away() for connection in self.connections])
        if self.tasks:
            goodbye = {"type": "realtime.goodbye", "process": self.channel}
            self.say(self.layer.group_send(PROCESSES, goodbye))
            await asyncio.wait(self.saying, timeout=1)
        while self.tasks:
            self.tasks.pop().cancel()
        await self.connection_limit.close()
