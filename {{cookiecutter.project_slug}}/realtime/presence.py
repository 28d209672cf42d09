"""Users of a group, over all processes.

Each process announces its own users, and discards those of a process without heartbeats. So
presence does not depend on an orderly end of anything.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from realtime.protocol import encode

QUIET_SECONDS = 0.25  # send changes within this time together
SMALL = 50  # list all users up to this number, only changes above it

type Users = dict[str, str]  # display names by user id


class Presence:
    """Users of one group: those of this process, and those that other processes announced."""

    def __init__(self, notify: Callable[[str], None], announce: Callable[[], None]) -> None:
        self.notify = notify  # the members in this process
        self.announce = announce  # to the other processes
        self.connections: Counter[str] = Counter()  # in this process, by user id
        self.here: Users = {}
        self.elsewhere: dict[str, Users] = {}  # by process
        self.sent: Users = {}  # to all members
        self.shown: Users = {}  # to newcomers, before the next change is sent to all
        self.quiet: asyncio.TimerHandle | None = None
        self.changed_here = self.changed = False

    def users(self) -> Users:
        users: Users = {}
        for others in self.elsewhere.values():
            users |= others
        return users | self.here

    def add(self, user_id: str, user_name: str) -> None:
        """Count a connection of a user."""
        self.connections[user_id] += 1
        if self.here.get(user_id) != user_name:
            self.here[user_id] = user_name
            self.schedule(here=True)

    def remove(self, user_id: str) -> None:
        self.connections[user_id] -= 1
        if self.connections[user_id] == 0:
            del self.connections[user_id], self.here[user_id]
            self.schedule(here=True)

    def update(self, process: str, users: Users) -> None:
        """Store another process's users. Announce ours to a process seen for the first time."""
        known = process in self.elsewhere
        if users:
            self.elsewhere[process] = users
            self.schedule(here=not known)
        elif self.elsewhere.pop(process, None):
            self.schedule()

    def schedule(self, *, here: bool = False) -> None:
        """Send a change: the first one at once, those within a short time together."""
        self.changed = True
        self.changed_here = self.changed_here or here
        if self.quiet is None:
            self.send_changes()

    def send_changes(self) -> None:
        self.quiet = None
        if not self.changed:
            return
        self.quiet = asyncio.get_running_loop().call_later(QUIET_SECONDS, self.send_changes)
        self.changed = False
        if self.changed_here:
            self.changed_here = False
            self.announce()
        before, self.sent = self.sent, self.users()
        shown, self.shown = before | self.shown, {}
        if not self.sent == before == shown:
            self.notify(self.difference(before, shown))

    def close(self) -> None:
        """Announce what waits, so that it cannot follow what the group's next members announce."""
        if self.quiet is not None:
            self.quiet.cancel()
        if self.changed_here:
            self.announce()

    def show(self) -> str:
        """Return the event for a newcomer, who may see users that come and go before the others."""
        if self.changed:
            self.shown |= self.users()
        return self.everyone()

    def everyone(self) -> str:
        """Encode the event that lists all users."""
        users = self.users()
        return encode({"type": "presence", "users": listed(users), "count": len(users)})

    def difference(self, before: Users, shown: Users) -> str:
        """Encode the event for members who know the users before the change, or those shown."""
        if len(self.sent) <= SMALL:
            return self.everyone()
        joined = {key: name for key, name in self.sent.items() if key not in before}
        left = {key: name for key, name in shown.items() if key not in self.sent}
        event = {"joined": listed(joined), "left": listed(left), "count": len(self.sent)}
        return encode({"type": "presence", **event})


def listed(users: Users) -> list[dict[str, Any]]:
    """Return the users as they are sent, sorted by name."""
    ordered = sorted((name, key) for key, name in users.items())
    return [{"user": name, "user_id": key} for name, key in ordered]
