"""Users of a group in all processes together."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer

from engine.history import group_of
from engine.people import rename, user_of
from realtime import bus, presence
from realtime.broadcast import group_name
from realtime.bus import PROCESSES
from realtime.process import get_process

PATH = "/ws/journal/a/"
GROUP = group_of("a")
PRESENCE = group_name("presence", GROUP)


@sync_to_async
def id_of(name):
    return str(user_of(name).pk)


async def send_as_another_process(group=GROUP, **message):
    await get_channel_layer().group_send(group, {"group": group, "process": "other", **message})


async def test_users_see_each_other_join_and_leave(visit):
    """A newcomer receives the list after the replay, the other members on each change."""
    ann = await visit(PATH)
    assert await ann.sees("ann")
    bob = await visit(PATH, "bob")
    assert await bob.sees("ann", "bob")
    assert await ann.sees("ann", "bob")
    await bob.disconnect()
    assert await ann.sees("ann")


async def test_two_tabs_count_once(visit):
    """A user is present until the last connection ends."""
    ann = await visit(PATH)
    assert await ann.sees("ann")
    tabs = [await visit(PATH, "bob") for _ in range(2)]
    assert await ann.sees("ann", "bob")
    await tabs[0].disconnect()
    await asyncio.sleep(2 * presence.QUIET_SECONDS)
    await ann.send(type="ping")
    assert await ann.receive(presence=True) == {"type": "pong"}
    await tabs[1].disconnect()
    assert await ann.sees("ann")


async def test_processes_exchange_their_users(visit):
    """Users of another process are shown here. Ours are announced on joining, and to the other process."""
    received = []

    async def subscribe():
        layer = get_channel_layer()
        await layer.group_add(PRESENCE, "listener")
        while True:
            received.append(await layer.receive("listener"))

    subscription = asyncio.create_task(subscribe())
    ann = await visit(PATH)
    assert await ann.sees("ann")
    await send_as_another_process(type="realtime.users", users={"c": "cem"})
    assert await ann.sees("ann", "cem")
    await asyncio.sleep(2 * presence.QUIET_SECONDS)
    own = [event["users"] for event in received if event["process"] == get_process().hub.channel]
    assert own == [{await id_of("ann"): "ann"}] * 2, "once on joining, once for the new process"
    await send_as_another_process(type="realtime.users", users={})
    assert await ann.sees("ann")
    subscription.cancel()


@pytest.mark.parametrize("announced", [True, False])
async def test_ended_process_is_forgotten(visit, monkeypatch, announced):
    """The users of an ended process leave at once if the end was announced, else after a silence."""
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(bus, "SILENCE_SECONDS", 60 if announced else 0.3)
    ann = await visit(PATH)
    assert await ann.sees("ann")
    await send_as_another_process(type="realtime.users", users={"c": "cem"})
    assert await ann.sees("ann", "cem")
    if announced:
        await send_as_another_process(PROCESSES, type="realtime.stopped")
    assert await ann.sees("ann")


async def test_no_process_is_forgotten_while_the_layer_is_down(visit, monkeypatch):
    """A process that does not receive its own heartbeat keeps what it knows of the others."""

    async def lose(group, message):
        pass

    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(bus, "SILENCE_SECONDS", 1)
    ann = await visit(PATH)
    assert await ann.sees("ann")
    await send_as_another_process(type="realtime.users", users={"c": "cem"})
    assert await ann.sees("ann", "cem")
    with monkeypatch.context() as down:
        down.setattr(get_channel_layer(), "group_send", lose)
        await asyncio.sleep(1.3)
        assert get_process().bus.processes.keys() == {"other", get_process().hub.channel}
    assert await ann.sees("ann")


async def test_unknown_process_is_queried(visit):
    """A heartbeat of an unknown process is answered with a query for its users."""
    layer = get_channel_layer()
    ann = await visit(PATH)
    assert await ann.sees("ann")
    await send_as_another_process(PROCESSES, type="realtime.heartbeat")
    assert (await asyncio.wait_for(layer.receive("other"), 5))["type"] == "realtime.who"
    await layer.group_add(PRESENCE, "other")
    await layer.send(get_process().hub.channel, {"type": "realtime.who"})
    assert (await asyncio.wait_for(layer.receive("other"), 5))["users"] == {await id_of("ann"): "ann"}


async def test_large_group_receives_changes(visit, monkeypatch):
    """In a large group a newcomer receives one list, and the other members one small change."""
    monkeypatch.setattr(presence, "SMALL", 1)
    ann = await visit(PATH)
    assert await ann.sees("ann")
    bob = await visit(PATH, "bob")
    assert await bob.sees("ann", "bob")
    change = {"type": "presence", "joined": [{"user": "bob", "user_id": await id_of("bob")}], "left": [], "count": 2}
    assert await ann.receive(presence=True) == change


async def test_rename_is_shown(visit):
    """A new connection of a renamed user shows the new name."""
    ann = await visit(PATH)
    assert await ann.sees("ann")
    await sync_to_async(rename)("ann", "annie")
    tab = await visit(PATH, "annie")
    assert await tab.sees("annie")
    assert await ann.sees("annie")


async def test_quick_reconnect_is_announced_last(visit):
    """The announcement of a connection that has ended does not follow that of the next one."""
    received = []
    layer = get_channel_layer()
    await layer.group_add(PRESENCE, "listener")
    for _ in range(2):
        ann = await visit(PATH)
        await ann.receive_until("welcome")
        if not received:
            await ann.disconnect()
        received.append(ann)
    await asyncio.sleep(2 * presence.QUIET_SECONDS)
    announced = []
    while layer.channels.get("listener") and not layer.channels["listener"].empty():
        announced.append((await layer.receive("listener"))["users"])
    assert announced[-1] == {await id_of("ann"): "ann"}


@pytest.fixture(params=[0, 50], ids=["differences", "lists"])
async def changing(request, monkeypatch):
    """Users that all know but for bob, who has just joined, and the events that were sent."""
    monkeypatch.setattr(presence, "SMALL", request.param)
    sent = []
    users = presence.Presence(lambda text: sent.append(json.loads(text)), lambda: None)
    users.add("1", "ann")
    users.add("2", "bob")
    return users, sent


async def test_newcomer_does_not_keep_a_brief_visitor(changing):
    """A newcomer sees a waiting change at once, and its end too if no one else sees either."""
    users, sent = changing
    users.add("3", "cem")
    assert json.loads(users.show())["count"] == 3
    users.remove("2")
    await asyncio.sleep(2 * presence.QUIET_SECONDS)
    names = {key: [user["user"] for user in sent[-1].get(key, ())] for key in ("users", "joined", "left")}
    assert names in (
        {"users": ["ann", "cem"], "joined": [], "left": []},
        {"users": [], "joined": ["cem"], "left": ["bob"]},
    )


async def test_newcomer_sees_the_end_of_a_change(changing):
    """The others need no event, but the newcomer does."""
    users, sent = changing
    users.show()
    users.remove("2")
    await asyncio.sleep(2 * presence.QUIET_SECONDS)
    assert [event["count"] for event in sent] == [1, 1]


async def test_nothing_is_kept_of_a_group_without_members(visit):
    """Neither the group nor its name stays."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    await ann.disconnect()
    await asyncio.sleep(2 * presence.QUIET_SECONDS)
    process = get_process()
    await process.hub.end_left()
    assert (GROUP in process.groups, GROUP in process.bus.unannounced) == (False, False)


async def test_client_of_tests_waits_for_users(visit):
    """`SocketClient.wait_for_users` returns the event that lists exactly these users."""
    ann, bob = await visit(PATH), await visit(PATH, "bob")
    assert (await ann.wait_for_users("bob", "ann"))["count"] == 2
    await bob.disconnect()
    assert [user["user"] for user in (await ann.wait_for_users("ann"))["users"]] == ["ann"]
