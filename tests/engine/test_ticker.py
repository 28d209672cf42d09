"""A feed that gets an event each second, from one process of all."""

import json
import os
import signal
import time

import pytest
from asgiref.sync import sync_to_async
from django.db import Error

from realtime.feeds.events import FeedHistory, append, trim
from realtime.feeds.models import Feed, FeedEvent
from realtime.figures import ticker
from realtime.figures.ticker import Ticker, attempt

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def silence(monkeypatch):
    """Let another process take over at once after this function was called."""
    monkeypatch.setattr(ticker, "SILENCE_SECONDS", 0)


def make(name, keep=100):
    """Return the end of a ticker in a process of this name."""
    return Ticker("ticks", lambda: {"type": "tick", "by": name}, keep=keep)


def ticks():
    """Return number and producer of each event, oldest first."""
    return [(event["seq"], event["by"]) for event in FeedHistory("ticks").between(0, 1000)][::-1]


def test_process_stands_by_while_another_one_ticks(monkeypatch):
    """Once the feed is silent, the process takes over."""
    now = 1000.0
    monkeypatch.setattr(ticker.time, "monotonic", lambda: now)
    one, other = make("one"), make("other")
    one.turn()
    assert ticks() == []
    now += 5
    one.turn()
    other.turn()
    for _ in range(10):
        now += 1
        one.turn()
        other.turn()
    assert ticks() == [(number, "one") for number in range(1, 12)]
    for _ in range(5):  # without the first process
        now += 1
        other.turn()
    assert ticks()[11][1] == "other"


def test_suspended_process_repeats_nothing(silence):
    """Another one took over meanwhile: what the process made for its number is not stored."""
    one, other = make("one"), make("other")
    one.turn()
    other.seq = 1
    other.turn()
    one.turn()
    assert ticks() == [(1, "one"), (2, "other")]
    assert (one.produces, other.produces) == (False, True)
    other.turn()
    assert ticks() == [(1, "one"), (2, "other"), (3, "other")]


def test_processes_that_try_at_once_store_one_event(monkeypatch):
    """The first one produces, and the other stands by."""
    monkeypatch.setattr(Ticker, "is_silent", lambda _: True)
    one, other = make("one"), make("other")
    one.seq = other.seq = 0
    one.turn()
    other.turn()
    assert ticks() == [(1, "one")]
    assert (one.produces, other.produces) == (True, False)


def test_feed_that_was_deleted_begins_again(silence):
    """The process notices that its numbers are not those of the feed."""
    one = make("one")
    one.turn()
    one.turn()
    Feed.objects.all().delete()
    for _ in range(5):
        one.turn()
    assert [seq for seq, _ in ticks()] == [1, 2, 3, 4]
    assert one.produces


def test_feed_is_bounded(silence):
    """Events beyond the latest ones are deleted, and their numbers are not used again."""
    one = make("one", keep=20)
    for _ in range(50):
        one.turn()
    assert [seq for seq, _ in ticks()] == list(range(31, 51))


def test_trim_keeps_the_latest_events():
    """Other feeds keep theirs."""
    for number in range(5):
        append("ticks", {"type": "tick", "by": number})
        append("other", {"type": "tick"})
    trim("ticks", 2)
    assert ticks() == [(4, 3), (5, 4)]
    trim("ticks", 10)
    trim("missing", 1)
    assert FeedEvent.objects.count() == 7


@pytest.mark.parametrize("error", [Error, ValueError])
def test_failures_are_logged_once(error, caplog):
    """The next one after a success is logged again. One of the code has its traceback."""
    failing, broken = set(), iter([True, True, True, False, True])

    def work():
        if next(broken):
            raise error("the reason")

    for _ in range(5):
        attempt(work, failing)
    assert [record.getMessage() for record in caplog.records] == ["No figures: the reason"] * 2
    assert [bool(record.exc_info) for record in caplog.records] == [error is ValueError] * 2


def test_nothing_runs_without_a_ticker(monkeypatch):
    """A site without a ticker stores no reports."""
    monkeypatch.setattr(ticker.threading, "Thread", None)
    ticker.start()


async def wait_for(seq, patience=10):
    """Return the events of the feed once it has the number. Fail after some seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        events = await sync_to_async(lambda: list(FeedHistory("ticks").between(0, 1000)))()
        if events and events[0]["seq"] >= seq:
            return events[::-1]
        await sync_to_async(time.sleep)(0.1)
    raise AssertionError(f"no event {seq} within {patience} s")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_another_process_takes_over(open_socket, serve, end):
    """A viewer of the other server sees each number once, also after the first process went on."""
    servers = [await serve(ENGINE_TICKER="ticks") for _ in range(2)]
    first = (await wait_for(3))[-1]["pid"]
    (address,) = [address for address, server in servers if server.pid != first]
    viewer = await open_socket(f"ws://{address}/ws/feed/ticks/?after=0")
    try:
        os.kill(first, end)
        latest = len(await wait_for(1))
        events = await wait_for(latest + 3)
        assert events[latest]["pid"] != first
    finally:
        if end == signal.SIGSTOP:
            os.kill(first, signal.SIGCONT)
    events = await wait_for(latest + 6)
    assert {event["pid"] for event in events[latest:]} == {events[latest]["pid"]}
    seen = []
    while len(seen) < len(events):
        event = json.loads(await viewer.recv())
        if event["type"] == "tick":
            seen.append(event)
    assert seen == events
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
