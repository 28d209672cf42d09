"""Work for all groups or all connections of a process, of which each turn of the event loop has a little."""

import asyncio
from collections import Counter

import pytest

from realtime import hub
from realtime.batches import set_results
from realtime.bus import REFRESH_BEATS
from realtime.groups import Group
from realtime.hub import TOGETHER
from realtime.outbox import Outbox
from realtime.process import get_process
from realtime.tasks import TURN

MANY = 10 * TURN


class Turns:
    """Counts of what happened, one for each turn of the event loop."""

    def __init__(self):
        self.number = 0
        self.counts = Counter()
        self.seen = []

    async def count(self):
        while True:
            self.number += 1
            await asyncio.sleep(0)

    def note(self, one=None, *_):
        self.counts[self.number] += 1
        self.seen.append(one)

    async def note_soon(self, one=None, *_):
        self.note(one)

    async def until(self, total):
        while len(self.seen) < total:
            await asyncio.sleep(0)


@pytest.fixture
async def turns():
    turns = Turns()
    counting = asyncio.create_task(turns.count())
    yield turns
    counting.cancel()


@pytest.fixture
async def process():
    """Return a process with many groups, each with a user in another process."""
    process = get_process()
    await process.start()
    for number in range(MANY):
        group = process.groups[f"group-{number}"] = Group(f"group-{number}")
        process.hub.add_presence(group)
        group.subscribed = True
        group.presence.elsewhere["other"] = {"c": "cem"}
    yield process
    process.groups.clear()
    await process.drain()


async def test_newcomer_gets_the_users_of_a_few_groups_at_a_time(process, turns, monkeypatch):
    """A process that asks who is present gets an announcement of each group, a few in each turn."""
    monkeypatch.setattr(process.layer, "group_send", turns.note_soon)
    process.bus.dispatch({"type": "realtime.who"})
    await asyncio.wait_for(turns.until(MANY), 5)
    assert len(set(turns.seen)) == MANY
    assert max(turns.counts.values()) <= TURN


async def test_end_of_a_process_is_notified_a_few_groups_at_a_time(process, turns):
    """The users of an ended process leave at once. The members of a few groups get the event in each turn."""
    for group in process.groups.values():
        if group.presence:
            group.presence.sent = group.presence.users()
            group.presence.notify = turns.note
    process.bus.dispatch({"type": "realtime.stopped", "process": "other"})
    assert not any(group.presence.elsewhere for group in process.groups.values() if group.presence)
    await asyncio.wait_for(turns.until(MANY), 5)
    assert max(turns.counts.values()) <= TURN


async def test_lost_subscriptions_are_retried_a_few_at_a_time(process, turns, monkeypatch):
    """If no group is subscribed, a beat subscribes to a few of them in each turn."""
    for group in process.groups.values():
        group.subscribed = False
    monkeypatch.setattr(process.hub, "add_channel", turns.note_soon)
    await process.look_after_groups(0)
    await asyncio.wait_for(turns.until(MANY + 1), 5)  # with the group of all processes
    assert max(turns.counts.values()) <= TURN


async def test_sockets_are_drained_a_few_at_a_time(process, turns, monkeypatch):
    """A drain begins to close a few sockets in each turn."""

    class Connection:
        async def drain(self):
            turns.note()

    monkeypatch.setattr(process, "connections", {Connection() for _ in range(MANY)})
    await process.drain()
    assert len(turns.seen) == MANY
    assert max(turns.counts.values()) <= TURN


async def test_each_group_is_announced_again_once_in_a_while(process, turns, monkeypatch):
    """The beats of a minute announce every group once, and each beat some of them."""
    monkeypatch.setattr(process.layer, "group_send", turns.note_soon)
    totals = []
    for beat in range(REFRESH_BEATS):
        await process.look_after_groups(beat)
        await asyncio.wait({process.bus.announcing})
        totals.append(len(turns.seen))
    assert len(set(turns.seen)) == len(turns.seen) == MANY
    assert totals == sorted(set(totals)), "a beat without a group"


async def test_announcement_is_repeated_until_the_layer_takes_it(process, turns, monkeypatch):
    """A refused announcement is sent again with the next heartbeat, with the users of then."""
    group = process.groups["group-0"]

    async def refuse(group, message):
        raise OSError("no layer")

    with monkeypatch.context() as outage:
        outage.setattr(process.layer, "group_send", refuse)
        group.presence.add("1", "ann")
        await asyncio.wait({process.bus.announcing})
        group.presence.add("2", "bob")
    sent = []

    async def send(name, message):
        sent.append(message)

    monkeypatch.setattr(process.layer, "group_send", send)
    process.bus.send_heartbeat()
    await asyncio.wait({process.bus.announcing})
    assert [message["users"] for message in sent if message["type"] == "realtime.users"] == [{"1": "ann", "2": "bob"}]


async def test_burst_of_layer_messages_leaves_turns_to_others(process, turns, monkeypatch):
    """Messages that have arrived together are dispatched one in each turn if that takes long."""
    monkeypatch.setattr(hub, "TURN_SECONDS", 0)
    monkeypatch.setattr(process.hub, "dispatch", turns.note)
    for _ in range(MANY):
        await process.layer.send(process.hub.channel, {"type": "realtime.test"})
    await asyncio.wait_for(turns.until(MANY), 5)
    assert max(turns.counts.values()) == 1


async def test_callers_of_a_batch_are_woken_a_few_at_a_time(turns):
    """Each may have a replay to send."""
    loop = asyncio.get_running_loop()
    futures = [(loop.create_future(), number) for number in range(MANY)]
    for future, _ in futures:
        future.add_done_callback(turns.note)
    set_results(futures)
    await asyncio.wait_for(turns.until(MANY), 5)
    assert max(turns.counts.values()) <= TURN
    assert [future.result() for future in turns.seen] == list(range(MANY))


@pytest.mark.parametrize(("calls", "sizes"), [(0, [TOGETHER, 50]), (49, [2] * 75)])
async def test_events_share_a_turn_if_they_need_few_calls(calls, sizes, process, monkeypatch):
    """A transport takes all at once. A member without one takes a call for each event."""
    monkeypatch.setattr(hub, "TURN_SECONDS", 60)
    group, accepted = process.groups["group-0"], []
    group.indirect = set(range(calls))
    monkeypatch.setattr(group, "accept", lambda events: accepted.append(len(events)))
    event = {"type": "realtime.event", "group": "group-0", "text": "{}", "seq": None, "sender": ""}
    for _ in range(TOGETHER + 50):
        await process.layer.send(process.hub.channel, event)
    while sum(accepted) < TOGETHER + 50:
        await asyncio.sleep(0)
    assert accepted == sizes


@pytest.mark.parametrize("lent", [False, True])
async def test_sender_leaves_turns_to_others(lent, turns):
    """A handler that sends without an end to a client that takes everything does not stop the event loop."""

    class Server:
        async def send(self, message):
            turns.note()

        def lend(self, give_back):
            return turns.note if lent else None

    outbox = Outbox(Server().send, lambda code: None)
    for _ in range(MANY):
        await outbox.send({"type": "websocket.send", "text": "more"})
    assert len(turns.seen) == MANY
    assert max(turns.counts.values()) <= TURN
