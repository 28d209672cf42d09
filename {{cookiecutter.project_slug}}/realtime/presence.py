"""Who is in a group, in all processes together.

Each process tells the others who is connected to it, and forgets what a process said that is no
longer heard of: so nothing depends on an orderly end of anything.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

from realtime.protocol import encode

QUIET_SECONDS = 0.25  # changes within this time are told together
SMALL = 50  # up to so many users, each change tells them all


class Presence:
    """The users in one group: those of this process, and those that the other processes named."""

    def __init__(self, tell: Callable[[str], None], announce: Callable[[], None]) -> None:
        self.tell = tell  # the members in this process
        self.announce = announce  # the other processes
        self.here: Counter[str] = Counter()
        self.elsewhere: dict[str, frozenset[str]] = {}
        self.told: frozenset[str] = frozenset()
        self.quiet: asyncio.TimerHandle | None = None
        self.changed_here = self.changed = False

    def users(self) -> frozenset[str]:
        return frozenset(self.here).union(*self.elsewhere.values())

    def enter(self, user: str) -> None:
        self.here[user] += 1
        if self.here[user] == 1:
            self.change(here=True)

    def leave(self, user: str) -> None:
        self.here[user] -= 1
        if self.here[user] == 0:
            del self.here[user]
            self.change(here=True)

    def hear(self, process: str, users: Collection[str]) -> None:
        """Store another process's users. Announce ours to a process seen for the first time."""
        known = process in self.elsewhere
        if users:
            self.elsewhere[process] = frozenset(users)
            self.change(here=not known)
        else:
            self.forget(process)

    def forget(self, process: str) -> None:
        if self.elsewhere.pop(process, None):
            self.change()

    def change(self, *, here: bool = False) -> None:
        """Tell what changed: at once the first time, then all that comes within a short while."""
        self.changed = True
        self.changed_here = self.changed_here or here
        if self.quiet is None:
            self.flush()

    def flush(self) -> None:
        self.quiet = None
        if not self.changed:
            return
        self.quiet = asyncio.get_running_loop().call_later(QUIET_SECONDS, self.flush)
        self.changed = False
        if self.changed_here:
            self.changed_here = False
            self.announce()
        before, self.told = self.told, self.users()
        if self.told != before:
            self.tell(self.difference(before))

    def everybody(self) -> str:
        """The event that lists all users."""
        users = self.users()
        return encode({"type": "presence", "users": sorted(users), "count": len(users)})

    def difference(self, before: frozenset[str]) -> str:
        """The event for those who knew who was there before."""
        if len(self.told) <= SMALL:
            return self.everybody()
        joined, left = sorted(self.told - before), sorted(before - self.told)
        count = len(self.told)
        return encode({"type": "presence", "joined": joined, "left": left, "count": count})
