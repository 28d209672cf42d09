"""Stored events: their replay, and those that the channel layer loses or swaps."""

import asyncio
import threading
import time

import pytest
from asgiref.sync import sync_to_async

from engine.history import JournalHistory, group_of, store
from engine.models import Entry, Journal, append
from realtime import bus, conf, groups, history
from realtime.broadcast import apublish
from realtime.history import MAX_SEQ, page_of, parse_after
from realtime.process import get_process
from realtime.protocol import EventError

PATH = "/ws/journal/a/"
GROUP = group_of("a")


def seqs(events):
    return [event["seq"] for event in events if event["type"] == "entry"]


@pytest.mark.parametrize(("after", "missed"), [(0, [1, 2, 3]), (2, [3]), (3, [])])
async def test_missed_events_are_replayed(visit, after, missed):
    """A client receives exactly the events after the number that it names."""
    await store("1", "2", "3")
    ann = await visit(f"{PATH}?after={after}")
    events = [await ann.receive() for _ in range(1 + len(missed))]
    assert (events[0]["seq"], seqs(events[1:])) == (3, missed)
    assert await ann.receives_nothing()


async def test_long_absence_leaves_a_gap(visit):
    """Above 500 missed events the newest are replayed, and a `gap` names the rest."""
    journal = await Journal.objects.acreate(name="a", seq=503)
    await Entry.objects.abulk_create(
        Entry(journal=journal, seq=seq, author="bob", ref=str(seq), text=str(seq)) for seq in range(1, 504)
    )
    ann = await visit(f"{PATH}?after=1")
    events = [await ann.receive() for _ in range(502)]
    assert events[1] == {"type": "gap", "after": 1, "before": 4}
    assert seqs(events[2:]) == list(range(4, 504))


async def test_replay_is_bounded_in_bytes(visit, settings):
    """The newest events that fit are replayed, at least one, and a `gap` names the rest."""
    for number in range(1, 5):
        await sync_to_async(append)("a", "bob", str(number), "🐌" * 1000)
    for limit, first in ((9000, 3), (8000, 4), (1, 4)):
        settings.REALTIME_MAX_REPLAY_BYTES = limit
        ann = await visit(f"{PATH}?after=1")
        events = [await ann.receive() for _ in range(7 - first)]
        assert events[1] == {"type": "gap", "after": 1, "before": first}
        assert seqs(events[2:]) == list(range(first, 5))
        assert await ann.receives_nothing()


async def test_long_replay_is_sent_in_chunks(visit, monkeypatch):
    """A replay in chunks is complete and in order. Events published meanwhile follow."""
    monkeypatch.setattr(history, "CHUNK_BYTES", 300)
    await store(*map(str, range(1, 21)))
    ann = await visit(f"{PATH}?after=3")
    await ann.send(type="append", ref="a1", text="21")
    await ann.receive_until("welcome")
    assert seqs([await ann.receive() for _ in range(18)]) == list(range(4, 22))
    assert await ann.receives_nothing()


async def test_many_send_at_once(visit):
    """Concurrent events get numbers without a gap, and every member receives them in order."""
    visitors = [await visit(PATH, f"user-{number}") for number in range(8)]
    for visitor in visitors:
        await visitor.receive_until("welcome")
    for number in range(5):
        for visitor in visitors:
            await visitor.send(type="append", ref=str(number), text="hi")
    for visitor in visitors:
        assert [(await visitor.receive())["seq"] for _ in range(40)] == list(range(1, 41))


async def test_lost_event_is_read_when_the_next_arrives(visit):
    """Events that the channel layer lost come from the database, in order, once."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    events = await store("1", "2", "3")
    await apublish(GROUP, events[2])
    assert [await ann.receive() for _ in range(3)] == events
    await apublish(GROUP, events[1])
    assert await ann.receives_nothing()


async def test_swapped_events_are_put_in_order(visit):
    """Events that overtook each other are delivered in order."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    events = await store("1", "2", "3")
    for event in (events[1], events[2], events[0]):
        await apublish(GROUP, event)
    assert [await ann.receive() for _ in range(3)] == events
    assert await ann.receives_nothing()


async def test_last_lost_event_arrives_soon(visit, monkeypatch):
    """A lost event arrives though none follows: each heartbeat compares numbers with the database."""
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.1)
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    (event,) = await store("1")
    assert await ann.receive() == event


async def test_more_lost_events_than_a_replay_holds_leave_a_gap(visit, monkeypatch):
    """The newest lost events arrive, and a `gap` names the rest."""
    monkeypatch.setattr(history, "MAX_REPLAY", 2)
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    events = await store("1", "2", "3", "4")
    await apublish(GROUP, events[3])
    assert await ann.receive() == {"type": "gap", "after": 0, "before": 3}
    assert [await ann.receive() for _ in range(2)] == events[2:]


@pytest.mark.parametrize(("limit", "value"), [("REALTIME_MAX_OUTBOX", 2), ("REALTIME_MAX_OUTBOX_BYTES", 200)])
async def test_early_events_are_bounded(limit, value, visit, settings):
    """Events that arrive early and exceed the limit are read from the database."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    events = await store(*map(str, range(10)))
    setattr(settings, limit, value)
    for event in events[1:]:
        await apublish(GROUP, event)
    group = get_process().groups[GROUP]
    await asyncio.sleep(0)
    assert 1 < len(group.ahead) < 5
    setattr(settings, limit, 10_000)
    assert [await ann.receive() for _ in events] == events
    assert (group.ahead, group.ahead_bytes) == ({}, 0)


@pytest.mark.django_db
def test_page_is_bounded(settings):
    """A page of history holds what fits, at least one event, and whether there are more."""
    for number in range(4):
        append("a", "bob", str(number), "🐌" * 1000)

    def page(limit):
        encoded, more = page_of(JournalHistory("a").between(0, 4), limit)
        return len(encoded), more

    assert [page(limit) for limit in (9, 4, 3)] == [(4, False), (4, False), (3, True)]
    settings.REALTIME_MAX_REPLAY_BYTES = 9000
    assert page(9) == (2, True)
    settings.REALTIME_MAX_REPLAY_BYTES = 1
    assert page(9) == (1, True)


@pytest.mark.parametrize(
    ("query", "number"),
    [(b"", None), (b"before=7", None), (b"after=0", 0), (b"after=1&after=7", 7), (b"after=" + b"9" * 30, MAX_SEQ)],
)
def test_number_to_continue_after_is_parsed(query, number):
    """The last `after` of a query is a number that a database can hold, or None."""
    assert parse_after(query) == number


@pytest.mark.parametrize("value", [b"", b"-1", b"x", b"1.5", b"%D9%A3"])
def test_invalid_number_to_continue_after_is_an_error(value):
    """A value that is not a number of at least 0 is an error of the event."""
    with pytest.raises(EventError, match="is not a number of at least 0"):
        parse_after(b"after=" + value)


async def test_unavailable_history_is_asked_again(visit, monkeypatch, caplog):
    """Events that were lost during an outage of the database arrive after it."""
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.1)
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    with monkeypatch.context() as outage:
        outage.setattr(JournalHistory, "latest", staticmethod(lambda keys: 1 / 0))
        await asyncio.sleep(0.3)
    assert "The database was not asked for lost events" in caplog.text
    await store("1")
    assert (await ann.receive_until("entry"))[-1]["seq"] == 1


async def test_group_has_one_kind_of_members(visit):
    """A group cannot be joined with a history and without one."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    (member,) = get_process().connections
    with pytest.raises(ValueError, match="cannot be mixed"):
        await get_process().hub.join(GROUP, member, None, presence=False)


async def replayed(visit, name):
    """Join from the start. Return the number in the welcome, and the texts of what is replayed."""
    visitor = await visit(f"{PATH}?after=0", name)
    seq = (await visitor.receive())["seq"]
    return seq, [(await visitor.receive())["text"] for _ in range(seq)]


async def test_members_share_one_reading(visit, monkeypatch):
    """A replay that another member has just read comes from memory, with what was published since."""
    await store("1", "2")
    assert await replayed(visit, "ann") == (2, ["1", "2"])
    (event,) = await store("3")
    await apublish(GROUP, event)
    monkeypatch.setattr(JournalHistory, "between", lambda *_: 1 / 0)
    assert await replayed(visit, "bob") == (3, ["1", "2", "3"])


async def test_concurrent_members_share_one_reading(visit, monkeypatch):
    """Those who join while events are read wait for these, instead of reading them, too."""
    await store("1", "2")
    between, read = JournalHistory.between, []

    def slow(self, after, until):
        read.append((after, until))
        time.sleep(0.1)
        return between(self, after, until)

    monkeypatch.setattr(JournalHistory, "between", slow)
    found = await asyncio.gather(*(replayed(visit, name) for name in ("ann", "bob", "cem")))
    assert (found, read) == ([(2, ["1", "2"])] * 3, [(0, 2)])


async def test_concurrent_members_share_one_look_up(visit, monkeypatch):
    """The latest numbers of all groups that are joined meanwhile are looked up at once."""
    latest, asked, first = JournalHistory.latest, [], threading.Event()

    def slow(keys):
        asked.append(set(keys))
        first.wait(5)
        return latest(keys)

    monkeypatch.setattr(JournalHistory, "latest", staticmethod(slow))
    visitors = [await visit("/ws/journal/a/", "a")]
    async with asyncio.timeout(5):
        while not asked:
            await asyncio.sleep(0.01)
        visitors += [await visit(f"/ws/journal/{key}/", key) for key in "bcd"]
        while history.latest_of.__self__.queue.qsize() < 3:
            await asyncio.sleep(0.01)
    first.set()
    for visitor in visitors:
        assert (await visitor.receive())["seq"] == 0
    assert asked == [{"a"}, {"b", "c", "d"}]


async def test_slow_replay_holds_up_no_other(visit, monkeypatch):
    """A member whose events are read slowly delays those only who want the same events."""
    await store("1", "2", "3")
    between, released = JournalHistory.between, threading.Event()

    def slow(self, after, until):
        if after == 1:
            released.wait(5)
        return between(self, after, until)

    monkeypatch.setattr(JournalHistory, "between", slow)
    ann = await visit(f"{PATH}?after=1")
    assert await replayed(visit, "bob") == (3, ["1", "2", "3"])
    released.set()
    assert (await ann.receive_until("entry"))[-1]["seq"] == 2


async def test_members_who_come_back_read_nothing(visit, monkeypatch):
    """A group without members stays current until the next beat."""
    await store("1")
    ann = await visit(f"{PATH}?after=0")
    await ann.receive_until("entry")
    await ann.disconnect()
    (event,) = await store("2")
    await apublish(GROUP, event)
    monkeypatch.setattr(JournalHistory, "between", lambda *_: 1 / 0)
    assert await replayed(visit, "bob") == (2, ["1", "2"])


async def test_changed_events_are_read_again(visit, monkeypatch):
    """A change that was published is read by who joins next, another one after a short time."""
    monkeypatch.setattr(groups, "RECENT_SECONDS", 0.5)
    await store("old")
    assert await replayed(visit, "ann") == (1, ["old"])
    await Entry.objects.aupdate(text="new")
    assert await replayed(visit, "bob") == (1, ["old"])
    await asyncio.sleep(0.6)
    assert await replayed(visit, "cem") == (1, ["new"])
    await Entry.objects.aupdate(text="newer")
    await apublish(GROUP, {"type": "edited", "seq": 1}, numbered=False)
    assert await replayed(visit, "eve") == (1, ["newer"])


def held_reading():
    """Return a slow `between`, the event of its reading, and one that it waits for afterwards."""
    between, read, released = JournalHistory.between, threading.Event(), threading.Event()

    def slow(self, after, until):
        events = list(between(self, after, until))
        read.set()
        released.wait(5)
        return events

    return slow, read, released


async def test_change_during_a_reading_is_not_missed(visit, monkeypatch):
    """Events that were read before a change are not kept for others."""
    await store("old")
    slow, read, changed = held_reading()

    with monkeypatch.context() as patch:
        patch.setattr(JournalHistory, "between", slow)
        ann = await visit(f"{PATH}?after=0")
        await ann.receive_until("welcome")
        await sync_to_async(read.wait)(5)
        await Entry.objects.aupdate(text="new")
        await apublish(GROUP, {"type": "edited", "seq": 1}, numbered=False)
        await asyncio.sleep(0.05)
        changed.set()
        await ann.receive_until("entry")
    assert await replayed(visit, "bob") == (1, ["new"])


async def test_event_during_a_reading_is_not_missed(visit, monkeypatch):
    """Events that were read before another one are not kept with those that follow it."""
    await store("1")
    slow, read, stored = held_reading()
    ann = await visit(PATH)
    await ann.receive_until("welcome")

    with monkeypatch.context() as patch:
        patch.setattr(JournalHistory, "between", slow)
        bob = await visit(f"{PATH}?after=0", "bob")
        await bob.receive_until("welcome")
        await sync_to_async(read.wait)(5)
        (event,) = await store("2")
        await apublish(GROUP, event)
        await ann.receive_until("entry")
        stored.set()
        assert [(await bob.receive())["text"] for _ in range(2)] == ["1", "2"]
    (event,) = await store("3")
    await apublish(GROUP, event)
    await ann.receive_until("entry")
    assert await replayed(visit, "cem") == (3, ["1", "2", "3"])


async def test_lost_event_is_replayed(visit):
    """Events in memory do not hide a later one that the group has not received."""
    await store("1")
    assert await replayed(visit, "ann") == (1, ["1"])
    await store("2")
    assert await replayed(visit, "bob") == (2, ["1", "2"])


async def test_long_replay_is_read_again(visit):
    """Events of which memory would hold the oldest only are not kept."""
    texts = [letter * 40_000 for letter in "abc"]
    await store(*texts)
    assert await replayed(visit, "ann") == (3, texts)
    assert await replayed(visit, "bob") == (3, texts)


async def test_gap_is_not_kept(visit, settings):
    """A member that joins after a gap of others gets the events that they fetch."""
    await store("1")
    ann = await visit(f"{PATH}?after=0")
    await ann.receive_until("entry")
    await store("2", "3")
    default, settings.REALTIME_MAX_REPLAY_BYTES = conf.settings.REALTIME_MAX_REPLAY_BYTES, 1
    await get_process().hub.find_lost_events()
    await ann.receive_until("gap")
    await ann.receive_until("entry")
    settings.REALTIME_MAX_REPLAY_BYTES = default
    assert await replayed(visit, "bob") == (3, ["1", "2", "3"])


async def test_edit_is_replayed_by_members_of_the_same_moment(visit):
    """A member that joins between a change and its event gets the event after the replay."""
    await store("old")
    assert await replayed(visit, "ann") == (1, ["old"])
    await Entry.objects.aupdate(text="new")
    bob = await visit(f"{PATH}?after=0", "bob")
    assert [event["type"] for event in await bob.receive_until("entry")] == ["welcome", "entry"]
    await apublish(GROUP, {"type": "edited", "seq": 1}, numbered=False)
    assert (await bob.receive())["type"] == "edited"


async def test_member_gets_an_event_that_its_group_lost(visit, monkeypatch):
    """The replay has the lost event, without waiting for the beat."""
    monkeypatch.setattr(groups, "REORDER_SECONDS", 60)
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    events = await store("1", "2")
    await apublish(GROUP, events[1])
    await asyncio.sleep(0.05)
    assert await replayed(visit, "bob") == (2, ["1", "2"])


def test_recent_events_are_bounded():
    """Above 64 KiB or 500 events the oldest are forgotten."""
    recent = history.Recent(0, 1, [(1, "a" * 1000)])
    for seq in range(2, 101):
        recent.add(seq, "a" * 1000)
    assert recent.between(34, 100) is None
    assert len(recent.between(35, 100)) == 65
    small = history.Recent(0, 0, [])
    for seq in range(1, 502):
        small.add(seq, "a")
    assert (small.between(0, 501), len(small.between(1, 501))) == (None, 500)
