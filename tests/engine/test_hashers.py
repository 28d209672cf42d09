"""Password hashing, in which clients take turns."""

import os
import threading
import time
from contextlib import contextmanager, nullcontext

import pytest
from django.contrib.auth.hashers import check_password, make_password
from django.db import connection, connections, transaction
from django.http import HttpResponse
from django.test import RequestFactory

from realtime import logs
from realtime.auth import hashers
from realtime.auth.throttle import TooManyRequestsMiddleware

FLOODER, HONEST = "192.0.2.1", "198.51.100.1"


class SlowHasher:
    """Hasher that takes until it is released, and records what it hashes."""

    def __init__(self, released, hashed):
        self.released = released
        self.hashed = hashed

    def encode(self, password):
        self.hashed.append(password)
        self.released.acquire()
        return password


class BoundedSlowHasher(hashers.BoundedHashing, SlowHasher):
    pass


class Crowd:
    """Clients that hash at the same time. `hashed` has their hashes in order, and `refused` those without a turn."""

    def __init__(self, turns):
        self.turns = turns
        self.released = threading.Semaphore(0)
        self.hashed, self.refused, self.threads = [], [], []

    def hash(self, client, password, setup=nullcontext):
        """Start a hash in a thread, and wait until it has a turn or a place, or was refused."""
        known = self.count()

        def work():
            logs.facts.set({"client": client})
            with setup():
                try:
                    BoundedSlowHasher(self.released, self.hashed).encode(password)
                except hashers.Busy:
                    self.refused.append(password)
            connections.close_all()

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()
        while self.count() == known:
            time.sleep(0.001)

    def count(self):
        waiting = sum(map(len, self.turns.queues.values()))
        return len(self.hashed) + len(self.refused) + waiting

    def finish(self):
        for _ in self.threads:
            self.released.release()
        for thread in self.threads:
            thread.join(10)


@pytest.fixture
def crowd(monkeypatch):
    """One hash at a time, and four places."""
    monkeypatch.setattr(hashers, "WAITING", 4)
    monkeypatch.setattr(hashers, "turns", hashers.Turns(1))
    crowd = Crowd(hashers.turns)
    yield crowd
    crowd.finish()
    assert (hashers.turns.free, hashers.turns.queues) == (1, {})


def test_a_core_is_free():
    """All hashes together leave one."""
    assert hashers.turns.free == max(1, os.cpu_count() - 1)


def test_clients_take_turns(crowd):
    """A client with one hash waits for one of each other client, however many those want."""
    for number in range(4):
        crowd.hash(FLOODER, number)
    crowd.hash(HONEST, "honest")
    crowd.finish()
    assert (crowd.hashed, crowd.refused) == ([0, 1, "honest", 2, 3], [])


def test_networks_take_turns(crowd):
    """All addresses of an IPv6 network are one client."""
    for number in range(3):
        crowd.hash(f"2001:db8::{number}", number)
    crowd.hash("2001:db8:0:1::1", "honest")
    crowd.finish()
    assert crowd.hashed == [0, 1, "honest", 2]


def test_client_with_most_places_loses_one(crowd):
    """If all places are taken, who comes first from another address gets one of those."""
    for number in range(5):
        crowd.hash(FLOODER, number)
    crowd.hash(HONEST, "honest")
    crowd.finish()
    assert (crowd.hashed, crowd.refused) == ([0, 1, "honest", 2, 3], [4])


def test_flood_refuses_itself(crowd):
    """One more than there are places."""
    for number in range(6):
        crowd.hash(FLOODER, number)
    crowd.finish()
    assert (crowd.hashed, crowd.refused) == ([0, 1, 2, 3, 4], [5])


def test_wait_is_bounded(crowd, monkeypatch):
    """A hash without a turn is refused, and its place is free again."""
    monkeypatch.setattr(hashers, "PATIENCE", 0.1)
    crowd.hash(HONEST, "first")
    crowd.hash(HONEST, "second")
    crowd.threads[-1].join(10)
    assert crowd.refused == ["second"]
    assert not crowd.turns.queues


@pytest.mark.django_db(transaction=True)
def test_transaction_does_not_wait(crowd):
    """Others may wait for its locks, so its turn is the next one."""
    for number in range(4):
        crowd.hash(FLOODER, number)
    crowd.hash(HONEST, "in a transaction", transaction.atomic)
    crowd.finish()
    assert crowd.hashed == [0, "in a transaction", 1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_waiting_hash_has_no_connection(crowd):
    """Pages share those of a pool."""
    opened = []

    @contextmanager
    def connected():
        connection.ensure_connection()
        opened.append(connections["default"])
        yield

    crowd.hash(HONEST, "first", connected)
    crowd.hash(HONEST, "second", connected)
    assert [each.connection is None for each in opened] == [False, True]


def test_bounded_hashes_are_djangos(settings):
    """Passwords that Django's own hasher stored stay valid, and the other way round."""
    for one, other in (("django.contrib", "realtime"), ("realtime", "django.contrib")):
        settings.PASSWORD_HASHERS = [f"{one}.auth.hashers.PBKDF2PasswordHasher"]
        stored = make_password("password")
        settings.PASSWORD_HASHERS = [f"{other}.auth.hashers.PBKDF2PasswordHasher"]
        assert check_password("password", stored)


@pytest.mark.parametrize("kind", ["*/*", "application/json"])
def test_programs_get_json(kind):
    """The answer has the seconds to wait. Other errors pass."""
    middleware = TooManyRequestsMiddleware(lambda request: HttpResponse())
    request = RequestFactory().get("/", headers={"Accept": kind})
    answer = middleware.process_exception(request, hashers.Busy(5))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.content == b'{"error": "Too many people are signing in. Try again in 5 seconds."}'
    assert middleware.process_exception(request, ValueError()) is None
