"""Sign-ins and memberships of open sockets, and the look-up of all of them each beat."""

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import batched, chain
from typing import Any, Protocol

from asgiref.sync import AsyncToSync
from channels.db import database_sync_to_async
from django.contrib.auth import get_user_model

from realtime import bus
from realtime.auth.sessions import find_valid_sessions, identity_of_session
from realtime.identity import FindValid, Identity, row_fields, row_of, user_id
from realtime.lookups import one_of
from realtime.protocol import Close

logger = logging.getLogger(__name__)

BATCH = 1000  # connections, and keys of one function, in one look-up
SPREAD_SECONDS = 1  # between the first and the last look-up of a beat

type Row = tuple[Any, ...]


class SignIn:
    """Identity of a connection, and the user's row as it was at the sign-in."""

    def __init__(self, identity: Identity, session: Any) -> None:
        self.latest = identity
        self.session = session if identity.find_valid is find_valid_sessions else None
        self.user_id = user_id(identity.user) or None
        self.row = row_of(identity.user)

    @property
    def identity(self) -> Identity:
        """Identity with the session's key of now: consumers may call `login()` or `cycle_key()`."""
        key = None if self.session is None else self.session.session_key
        if key not in (None, self.latest.key):
            self.latest = identity_of_session(self.latest.user, self.session)
        return self.latest

    def seconds_left(self) -> float:
        """Return the time until the sign-in expires."""
        end = self.identity.expires_at
        return math.inf if end is None else end.timestamp() - time.time()

    def checks(self) -> list[tuple[FindValid, Any]]:
        """Return the functions that must find a key valid, each with its key."""
        identity = self.identity
        checks: list[tuple[FindValid, Any]] = []
        if identity.find_valid is not None and identity.key is not None:
            checks.append((identity.find_valid, identity.key))
        if self.row is not None:
            checks.append((find_unchanged_rows, self.row))
        if identity.expires_at is not None:
            checks.append((find_future, identity.expires_at))
        return checks


class SignedIn(Protocol):
    """Connection with a sign-in, and the conditions of the groups that it joined."""

    sign_in: SignIn
    conditions: frozenset[tuple[FindValid, Any]]

    def end(self, code: int) -> None: ...


async def revalidate_forever(connections: Collection[SignedIn]) -> None:
    """Revalidate all connections each beat, until the task is cancelled."""
    while True:
        await asyncio.sleep(bus.HEARTBEAT_SECONDS - SPREAD_SECONDS)
        batches = list(batched(connections, BATCH)) or [()]
        for batch in batches:
            try:
                await revalidate(batch)
            except Exception:  # goes on, or nothing would end with its sign-in any more
                logger.exception("Sign-ins and memberships were not looked up")
            await asyncio.sleep(SPREAD_SECONDS / len(batches))


async def revalidate(connections: Sequence[SignedIn]) -> None:
    """Close with 4403 the connections whose sign-in or membership has ended."""
    # In a test of Django's, only its own thread sees what its transaction has stored.
    own_thread = asyncio.get_running_loop() in AsyncToSync.loop_thread_executors
    find = database_sync_to_async(find_ended, thread_sensitive=own_thread)
    for connection, sign_in in await find(connections):
        if connection.sign_in is sign_in:
            connection.end(Close.SIGNED_OUT)


def find_ended(connections: Sequence[SignedIn]) -> list[tuple[SignedIn, SignIn]]:
    """Return the connections with a key that is not valid any more. Runs in a thread."""
    sign_ins = [connection.sign_in for connection in connections]
    keys: defaultdict[FindValid, set[Any]] = defaultdict(set)
    for sign_in in sign_ins:
        for find_valid, key in sign_in.checks():
            keys[find_valid].add(key)
    for find_valid, key in frozenset().union(*[one.conditions for one in connections]):
        keys[find_valid].add(key)
    ended = {(find, key) for find, asked in keys.items() for key in find_invalid(find, asked)}
    if not ended:
        return []
    return [
        (connection, sign_in)
        for connection, sign_in in zip(connections, sign_ins, strict=True)
        if not ended.isdisjoint(chain(sign_in.checks(), connection.conditions))
    ]


def find_invalid(find_valid: FindValid, keys: set[Any]) -> set[Any]:
    """Return the keys that are not valid. If the database is unavailable, all count as valid."""
    if len(keys) > BATCH:
        return set().union(*(find_invalid(find_valid, set(part)) for part in batched(keys, BATCH)))
    try:
        return keys.difference(find_valid(keys))
    except Exception:
        logger.exception("Sign-ins and memberships were not looked up")
        return set()


def find_unchanged_rows(rows: Collection[Row]) -> Collection[Row]:
    """Return the rows that the users still have."""
    model = get_user_model()
    users = model._default_manager.filter(one_of("pk", [row[0] for row in rows]))
    return set(users.values_list(*row_fields(model)))


def find_future(times: Collection[datetime]) -> Collection[datetime]:
    """Return the times that are yet to come."""
    now = time.time()
    return [moment for moment in times if moment.timestamp() > now]
