"""Feeds that get an event at fixed intervals, from one process of all.

No lease and no clock decides which process that is, but the feed itself. A process appends only if
the feed still ends with the number that it knows. Otherwise another one has appended, and this one
stands by. So a process that was suspended repeats nothing.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from django.db import Error, close_old_connections, transaction

from realtime.feeds.events import append, trim
from realtime.feeds.models import latest_seqs, take_numbers
from realtime.figures.models import delete_old, store
from realtime.figures.sockets import Sampler
from realtime.threads import close_connections, keep_connections

SECONDS = 1.0  # between the reports of a process, and the shortest interval of a ticker
SILENCE_SECONDS = 3  # the feed has no new event for this long: another process takes over

logger = logging.getLogger(__name__)

type MakeEvent = Callable[[], Mapping[str, Any]]


class Ticker:
    """End of a ticker in this process, which produces the events or stands by."""

    def __init__(self, feed: str, make_event: MakeEvent, *, keep: int) -> None:
        self.feed = feed
        self.make_event = make_event
        self.keep = keep
        self.seq = -1  # of the latest event that is known
        self.takes_over_at = 0.0
        self.produces = False

    def turn(self) -> None:
        """Append the next event, unless another process does."""
        if not self.produces and not self.is_silent():
            return
        event = self.make_event()
        with transaction.atomic():
            produces = take_numbers({self.feed: 0})[self.feed] == self.seq  # locks the feed
            if produces:
                append(self.feed, event)
        if produces != self.produces:
            self.produces = produces
            who = "This process" if produces else "Another process"
            logger.info("%s produces the events of %s", who, self.feed)
        if not produces:
            return
        self.seq += 1
        if self.seq % max(self.keep // 10, 1) == 0:
            trim(self.feed, self.keep)
            delete_old()

    def is_silent(self) -> bool:
        """Return whether the feed had no new event for some seconds."""
        now = time.monotonic()
        seq = latest_seqs([self.feed]).get(self.feed, 0)
        if seq != self.seq:
            self.seq = seq
            # Random, so that not all processes try at once.
            self.takes_over_at = now + SILENCE_SECONDS * random.uniform(1, 1.5)
        return now >= self.takes_over_at


tickers: dict[str, Ticker] = {}  # by their feeds


def tick(feed: str, make_event: MakeEvent, *, keep: int = 300) -> None:
    """Append an event to the feed each second, from one of the server's processes. Call it once.

    `make_event` returns the event, and runs in a thread. The feed keeps the latest `keep` events,
    or up to a tenth more. If the process dies, another one continues within five seconds.
    """
    tickers[feed] = Ticker(feed, make_event, keep=keep)


def start() -> None:
    """Report and tick in a thread of this process, a server's, if there is a ticker."""
    if tickers:
        threading.Thread(target=run, name="figures", daemon=True).start()


def run() -> None:
    keep_connections()
    process, sampler = uuid4().hex, Sampler()
    works = [lambda: store(process, sampler.sample()), *(one.turn for one in tickers.values())]
    failing: set[Callable[[], None]] = set()
    due = time.monotonic()
    while True:
        due = max(due + SECONDS, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))
        for work in works:
            attempt(work, failing)


def attempt(work: Callable[[], None], failing: set[Callable[[], None]]) -> None:
    """Call a function. Log an exception, unless the call before failed, too."""
    try:
        work()
        close_old_connections()
        failing.discard(work)
    except Exception as error:
        if work not in failing:
            # An error of the database passes, and one of the code needs its traceback.
            logger.warning("No figures: %s", error, exc_info=not isinstance(error, Error))
        failing.add(work)
        close_connections()
