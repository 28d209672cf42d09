"""Password hashing that leaves one core free, in which clients take turns."""

import os
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import RLock
from typing import Any

from django.contrib.auth import hashers
from django.db import connections
from django.utils.translation import gettext_lazy

from realtime import logs
from realtime.auth.throttle import TooManyRequests
from realtime.conf import settings
from realtime.proxy import network_of
from realtime.threads import close_connections

PATIENCE = 10  # seconds for which a hash waits for its turn; `Busy` after this
WAITING = 40  # hashes per core, which take about as long; `Busy` above this
RETRY_SECONDS = 5


class Busy(TooManyRequests):
    """Refusal because many others sign in at this moment."""

    status = 503
    reason = gettext_lazy("Too many people are signing in.")


class Turns:
    """Turns of clients. One that waits for many gets one, and then all others get theirs.

    If too many wait, the client that waits for most loses its last place.
    """

    def __init__(self, at_once: int) -> None:
        self.free = at_once
        self.places = at_once * WAITING
        self.lock = RLock()
        self.queues: OrderedDict[str, deque[Future[None]]] = OrderedDict()  # the next client first

    @contextmanager
    def turn(self, client: str) -> Iterator[None]:
        """Wait for a turn, and end it. Raise Busy."""
        if not self.free:
            close_connections()
        if waiting := self.join(client):
            try:
                waiting.result(PATIENCE)
            except TimeoutError:
                self.refuse(client, waiting)
                waiting.result()  # the turn may have come meanwhile
        try:
            yield
        finally:
            self.pass_on()

    def join(self, client: str) -> Future[None] | None:
        """Take a free turn and return None, or take a place in the queue and return it."""
        with self.lock:
            if self.free:
                self.free -= 1
                return None
            waiting: Future[None] = Future()
            queue = self.queues.setdefault(client, deque())
            queue.append(waiting)
            if in_transaction():  # others wait for its locks
                queue.rotate(1)
                self.queues.move_to_end(client, last=False)
            if sum(map(len, self.queues.values())) > self.places:
                most = max(self.queues, key=lambda name: (len(self.queues[name]), name == client))
                self.refuse(most, self.queues[most][-1])
            return waiting

    def refuse(self, client: str, waiting: Future[None]) -> None:
        """Take a place away, unless its turn has come."""
        with self.lock:
            if not waiting.done():
                self.remove(client, waiting)
                waiting.set_exception(Busy(RETRY_SECONDS))

    def remove(self, client: str, waiting: Future[None]) -> None:
        self.queues[client].remove(waiting)
        if not self.queues[client]:
            del self.queues[client]

    def pass_on(self) -> None:
        """Give the turn to the next client, which then goes to the end."""
        with self.lock:
            if not self.queues:
                self.free += 1
                return
            client = next(iter(self.queues))
            waiting = self.queues[client][0]
            self.queues.move_to_end(client)
            self.remove(client, waiting)
            waiting.set_result(None)


def in_transaction() -> bool:
    return any(each.in_atomic_block for each in connections.all(initialized_only=True))


cores = os.cpu_count() or 1
turns = Turns(max(1, (cores - 1) // settings.WEB_CONCURRENCY))


class BoundedHashing:
    """Mix-in of a hasher: one core stays free, and clients take turns on the others."""

    def encode(self, *args: Any, **kwargs: Any) -> str:
        client = (logs.facts.get() or {}).get("client", "")
        with turns.turn(network_of(client)):
            encoded: str = super().encode(*args, **kwargs)  # type: ignore[misc]
            return encoded


class PBKDF2PasswordHasher(BoundedHashing, hashers.PBKDF2PasswordHasher):
    """Django's default hasher, bounded."""
