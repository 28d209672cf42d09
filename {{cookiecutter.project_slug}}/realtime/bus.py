"""Messages between processes: heartbeats, presence, sign-outs, removals from groups."""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable
from typing import Any

from realtime.groups import Group, Member, presence_name
from realtime.presence import Presence
from realtime.protocol import Close
from realtime.tasks import TURN, BackgroundTasks, in_turns

logger = logging.getLogger(__name__)

PROCESSES = "realtime.processes"  # the group that all processes are in
HEARTBEAT_SECONDS = 5
SILENCE_SECONDS = 17  # no heartbeat for this long: the process is considered dead
SIGN_IN_SECONDS = 60  # remember a sign-out for this long, longer than any handshake takes
REFRESH_BEATS = 12  # announce each group once in this many beats, even without a change


class Bus:
    """This process's end of the messages between processes.

    `channel` is the name of this process, set once there is one.
    """

    def __init__(self, layer: Any, groups: dict[str, Group], connections: Collection[Member]):
        self.layer = layer
        self.groups = groups
        self.connections = connections
        self.channel = ""
        self.tasks = BackgroundTasks()
        self.processes: dict[str, float] = {}  # with the time of the last heartbeat
        self.unannounced: set[str] = set()  # names of groups whose users here have changed
        self.announcing: asyncio.Task[None] | None = None
        self.signed_out: dict[tuple[str | None, str | None], float] = {}
        self.closed = False

    def dispatch(self, message: Any) -> bool:
        """Act on a message of another process. Return False if its type or fields are unknown."""
        match message:
            case {"type": "realtime.heartbeat", "process": str(process)}:
                self.on_heartbeat(process)
            case {
                "type": "realtime.users",
                "group": str(group),
                "process": str(process),
                "users": dict(users),
            } if all(isinstance(text, str) for text in (*users, *users.values())):
                self.on_users(group, process, users)
            case {"type": "realtime.who"}:
                self.announce(name for name, group in self.groups.items() if group.presence)
            case {"type": "realtime.stopped", "process": str(process)}:
                self.forget(process)
            case {"type": "realtime.disconnect", "user": str(user), "credential": credential} if (
                credential is None or isinstance(credential, str)
            ):
                self.on_disconnect(user, credential)
            case {"type": "realtime.end", "credential": str(credential), "sender": str(sender)}:
                self.on_end(credential, sender)
            case {"type": "realtime.remove", "user": str(user), "group": str(group)}:
                self.on_remove(user, group)
            case _:
                return False
        return True

    # Received

    def on_heartbeat(self, process: str) -> None:
        """Store the time. Ask a process that is new for its users."""
        if process not in self.processes and process != self.channel:
            self.tasks.start(self.layer.send(process, {"type": "realtime.who"}))
        self.processes[process] = time.monotonic()

    def on_users(self, name: str, process: str, users: dict[str, str]) -> None:
        group = self.groups.get(name)
        if group and group.presence and process != self.channel:
            self.processes[process] = time.monotonic()
            group.presence.update(process, users)

    def on_disconnect(self, user: str, credential: str | None) -> None:
        """Close the sockets of a user, and those whose sign-in is being looked up."""
        self.signed_out[user, credential] = time.monotonic()
        for connection in list(self.connections):
            if connection.is_signed_in(user, credential):
                connection.end(Close.SIGNED_OUT)

    def on_end(self, credential: str, sender: str) -> None:
        """Close the sockets of a credential, but for the connection that ended it."""
        self.signed_out[None, credential] = time.monotonic()
        for connection in list(self.connections):
            if connection.is_signed_in(None, credential) and connection.id != sender:
                connection.end(Close.SIGNED_OUT)

    def on_remove(self, user: str, name: str) -> None:
        """Close the sockets of a user that joined the group."""
        if group := self.groups.get(name):
            for membership in list(group.members.values()):
                if membership.member.user_id == user:
                    membership.member.end(Close.SIGNED_OUT)

    def was_signed_out(self, user: str, credential: str | None, since: float) -> bool:
        """Return whether the credential has ended, or its user was signed out after the look-up."""
        if (None, credential) in self.signed_out:
            return True
        times = (self.signed_out.get((user, own), 0.0) for own in (None, credential))
        return max(times) > since

    def forget(self, process: str) -> None:
        """Forget a process and its users. The members of each group get the change in turn."""
        self.processes.pop(process, None)
        seen = [group.presence for group in self.groups.values() if group.presence]
        changed = [presence for presence in seen if presence.elsewhere.pop(process, None)]
        self.tasks.start(in_turns(Presence.schedule, changed))

    # Sent

    def send_heartbeat(self) -> None:
        self.announce([])  # retry the refused ones
        heartbeat = {"type": "realtime.heartbeat", "process": self.channel}
        self.tasks.start(self.layer.group_send(PROCESSES, heartbeat))

    def announce(self, names: Iterable[str]) -> None:
        """Send the other processes the users of groups in this process, a few groups at a time."""
        self.unannounced.update(names)
        if self.announcing is None or self.announcing.done():
            self.announcing = self.tasks.start(self.send_users())

    async def send_users(self) -> None:
        refused: set[str] = set()
        while self.unannounced and not self.closed:
            names = [self.unannounced.pop() for _ in range(min(TURN, len(self.unannounced)))]
            sent = await asyncio.gather(*map(self.send_users_of, names), return_exceptions=True)
            refused.update(
                name
                for name, error in zip(names, sent, strict=True)
                if isinstance(error, Exception)
            )
        self.unannounced |= refused  # until the next beat

    async def send_users_of(self, name: str) -> None:
        group = self.groups.get(name)
        if group and group.presence and not group.subscribed:
            group.is_announced = False  # the answers would be lost
            return
        message = {
            "type": "realtime.users",
            "group": name,
            "process": self.channel,
            "users": group.presence.here if group and group.presence else {},
        }
        await self.layer.group_send(presence_name(name), message)

    def announce_again(self, group: Group, beat: int) -> None:
        """Announce a group with one beat of many: each beat has an equal share of the groups."""
        if group.presence and (hash(group.name) - beat) % REFRESH_BEATS == 0:
            self.announce([group.name])

    def broadcast(self, message: dict[str, Any]) -> None:
        """Act on a message here. Send it to every process as soon as the layer answers."""
        self.dispatch(message)
        self.tasks.start(self.send_until_received(message))

    async def send_until_received(self, message: dict[str, Any]) -> None:
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

    def forget_expired(self) -> None:
        """Forget old sign-outs, and processes without a heartbeat.

        Processes stay while our own heartbeat does not arrive: then the layer is unavailable.
        """
        now = time.monotonic()
        self.signed_out = {
            key: at for key, at in self.signed_out.items() if now - at < SIGN_IN_SECONDS
        }
        if now - self.processes.get(self.channel, 0) < 2 * HEARTBEAT_SECONDS:
            for process, at in list(self.processes.items()):
                if now - at > SILENCE_SECONDS:
                    self.forget(process)

    async def close(self) -> None:
        """Announce the end of this process, so that the others forget its users."""
        message = {"type": "realtime.stopped", "process": self.channel}
        self.tasks.start(self.layer.group_send(PROCESSES, message))
        await self.tasks.wait(1)
