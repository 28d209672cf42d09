"""Numbered events of a group, as they are stored, and their replay within limits."""

from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs

from channels.db import database_sync_to_async

from realtime.batches import in_batches
from realtime.conf import settings
from realtime.protocol import EventError, encode, size_of

MAX_REPLAY = 500  # events; the rest is fetched over HTTP
MAX_SEQ = 2**63 - 1  # limit of a database column
CHUNK_BYTES = 64 * 1024  # read and send this much of a replay at a time

type Events = list[tuple[int, str]]  # numbers and encoded events, oldest first


class History(ABC):
    """Events with a `seq` that starts at 1 and has no gap, in the order of their commits.

    Events that the channel layer loses or swaps are read from here. The methods are sync: they are
    called in a thread, and may query the database.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    @staticmethod
    @abstractmethod
    def latest(keys: Collection[str], /) -> dict[str, int]:
        """Return the number of the latest event of each key; keys without events may be missing."""

    @abstractmethod
    def between(self, after: int, until: int) -> Iterable[Mapping[str, Any]]:
        """Yield the events with `after < seq <= until`, newest first.

        Query some rows at a time: the iteration ends early when the replay is full.
        """


def latest_of_many(histories: list[History]) -> list[int]:
    """Return the number of the latest event of each history, 0 without events."""
    keys: defaultdict[type[History], set[str]] = defaultdict(set)
    for history in histories:
        keys[type(history)].add(history.key)
    latest = {kind: kind.latest(of_kind) for kind, of_kind in keys.items()}
    return [latest[type(history)].get(history.key, 0) for history in histories]


# Concurrent joins share a look-up.
latest_of, alatest_of = in_batches(latest_of_many)


class Replay(NamedTuple):
    """Newest events of a history, `MAX_REPLAY` and `REALTIME_MAX_REPLAY_BYTES` at most.

    Only one chunk is held in memory. The others are read when they are sent.
    """

    history: History
    after: int  # greater than requested if older events are left out
    ends: list[int]  # the number of the last event of each chunk
    first: Events
    thread_sensitive: bool

    @classmethod
    async def plan(
        cls, history: History, after: int, until: int, *, thread_sensitive: bool = True
    ) -> Self:
        """Divide the events with `after < seq <= until` into chunks."""
        read = database_sync_to_async(divide, thread_sensitive=thread_sensitive)
        return cls(history, *await read(history, after, until), thread_sensitive)

    async def chunks(self) -> AsyncIterator[Events]:
        """Read chunk after chunk, oldest first."""
        yield self.first
        read = database_sync_to_async(read_chunk, thread_sensitive=self.thread_sensitive)
        for after, until in pairwise(self.ends):
            yield await read(self.history, after, until)


class Recent:
    """Newest events of a group, as read for one member, kept for those who join soon after it."""

    __slots__ = ("after", "events", "size", "until")

    def __init__(self, after: int, until: int, events: Events) -> None:
        self.after, self.until = after, until  # the numbers between which no event is missing
        self.events = deque(events)
        self.size = sum(size_of(text) for _, text in events)

    def add(self, seq: int, text: str) -> None:
        """Add the next event. Above the size of a chunk, forget the oldest ones."""
        self.until = seq
        self.events.append((seq, text))
        self.size += size_of(text)
        while self.size > CHUNK_BYTES or len(self.events) > MAX_REPLAY:
            self.after, text = self.events.popleft()
            self.size -= size_of(text)

    def between(self, after: int, until: int) -> Events | None:
        """Return the events with `after < seq <= until`, or None if some are not here."""
        if after < self.after or until > self.until:
            return None
        return [event for event in self.events if after < event[0] <= until]


def divide(history: History, after: int, until: int) -> tuple[int, list[int], Events]:
    """Return where the replay starts, where its chunks end, and the first chunk."""
    after = max(after, until - MAX_REPLAY)
    ends = [until]
    chunk: Events = []
    chunk_size = replay_size = 0
    for event in history.between(after, until):
        seq, text = event["seq"], encode(event)
        size = size_of(text)
        replay_size += size
        if chunk and replay_size > settings.REALTIME_MAX_REPLAY_BYTES:
            after = seq
            break
        if chunk and chunk_size + size > CHUNK_BYTES:
            ends.append(seq)
            chunk, chunk_size = [], 0
        chunk.append((seq, text))
        chunk_size += size
    return after, ends[::-1], chunk[::-1]


def read_chunk(history: History, after: int, until: int) -> Events:
    return [(event["seq"], encode(event)) for event in history.between(after, until)][::-1]


def page_of(events: Iterable[Mapping[str, Any]], limit: int) -> tuple[list[bytes], bool]:
    """Encode at most `limit` events and `REALTIME_MAX_REPLAY_BYTES`.

    Return them, and whether there are more.
    """
    page: list[bytes] = []
    size = 0
    for event in events:
        encoded = encode(event).encode()
        size += len(encoded)
        if len(page) == limit or (page and size > settings.REALTIME_MAX_REPLAY_BYTES):
            return page, True
        page.append(encoded)
    return page, False


def parse_after(query_string: bytes) -> int | None:
    """Return the number of `?after=`, None without one. Raise EventError if it is invalid."""
    query = parse_qs(query_string.decode("latin-1"), keep_blank_values=True)
    if "after" not in query:
        return None
    try:
        return parse_number(query["after"][-1])
    except ValueError as error:
        raise EventError("bad_message", f"`after`: {error}.") from error


def parse_number(value: str) -> int:
    """Parse a number of at least 0, as in `?after=`. Raise ValueError for anything else."""
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value!r} is not a number of at least 0")
    return int(value) if len(value) < 19 else MAX_SEQ
