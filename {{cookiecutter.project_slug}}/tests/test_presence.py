"""Who is in a room, in all processes together."""

import asyncio
from typing import Any

import pytest
from channels.layers import get_channel_layer

from chat.models import room_group
from realtime import bus, presence
from realtime.bus import PROCESSES
from realtime.process import get_process
from tests.conftest import Visit
from tests.visitor import Event

LOBBY = "/ws/chat/lobby/"
GROUP = room_group("lobby")


async def say(group: str = GROUP, **message: Any) -> None:
    """Speak as another process does."""
    layer = get_channel_layer()
    assert layer is not None
    await layer.group_send(group, {"group": group, "process": "other", **message})


async def test_people_see_each_other_come_and_go(visit: Visit) -> None:
    """The newcomer after the replay, the others on each change."""
    ann = await visit(LOBBY)
    assert await ann.sees("ann")
    bob = await visit(LOBBY, "bob")
    assert await bob.sees("ann", "bob")
    assert await ann.sees("ann", "bob")
    await bob.leave()
    assert await ann.sees("ann")


async def test_two_tabs_count_once(visit: Visit) -> None:
    """Somebody is gone when the last one is closed."""
    ann = await visit(LOBBY)
    assert await ann.sees("ann")
    tabs = [await visit(LOBBY, "bob") for _ in range(2)]
    assert await ann.sees("ann", "bob")
    await tabs[0].leave()
    await asyncio.sleep(2 * presence.QUIET_SECONDS)
    await ann.send(type="ping")
    assert await ann.receive_any() == {"type": "pong"}
    await tabs[1].leave()
    assert await ann.sees("ann")


async def test_other_processes_are_heard(visit: Visit) -> None:
    """What another process says of its people is told here, and it is told ours."""
    heard: list[Event] = []

    async def listen() -> None:
        layer: Any = get_channel_layer()
        await layer.group_add(GROUP, "listener")
        while True:
            heard.append(await layer.receive("listener"))

    listening = asyncio.create_task(listen())
    ann = await visit(LOBBY)
    assert await ann.sees("ann")
    await say(type="realtime.users", users={"c": "cem"})
    assert await ann.sees("ann", "cem")
    await asyncio.sleep(2 * presence.QUIET_SECONDS)
    own = [
        list(event["users"].values())
        for event in heard
        if event["process"] == get_process().hub.channel
    ]
    assert own == [["ann"], ["ann"]], "once on joining, once for the newcomer"
    await say(type="realtime.users", users={})
    assert await ann.sees("ann")
    listening.cancel()


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_process_that_ended_is_forgotten(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, goodbye: bool
) -> None:
    """At once if it said so, else when it is silent for too long."""
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(bus, "SILENCE_SECONDS", 60 if goodbye else 0.3)
    ann = await visit(LOBBY)
    assert await ann.sees("ann")
    await say(type="realtime.users", users={"c": "cem"})
    assert await ann.sees("ann", "cem")
    if goodbye:
        await say(PROCESSES, type="realtime.goodbye")
    assert await ann.sees("ann")


async def test_nobody_is_forgotten_while_the_layer_is_away(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that does not even hear itself knows nothing of the others."""

    async def lose(group: str, message: dict[str, Any]) -> None:
        pass

    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(bus, "SILENCE_SECONDS", 1)
    ann = await visit(LOBBY)
    assert await ann.sees("ann")
    await say(type="realtime.users", users={"c": "cem"})
    assert await ann.sees("ann", "cem")
    with monkeypatch.context() as away:
        away.setattr(get_channel_layer(), "group_send", lose)
        await asyncio.sleep(1.3)
        assert get_process().bus.processes.keys() == {"other", get_process().hub.channel}
    assert await ann.sees("ann")


async def test_a_process_that_comes_back_is_asked(visit: Visit) -> None:
    """A heartbeat of an unknown process: what it said before was missed."""
    layer: Any = get_channel_layer()
    ann = await visit(LOBBY)
    assert await ann.sees("ann")
    await say(PROCESSES, type="realtime.heartbeat")
    assert (await asyncio.wait_for(layer.receive("other"), 5))["type"] == "realtime.who"
    await layer.group_add(GROUP, "other")
    await layer.send(get_process().hub.channel, {"type": "realtime.who"})
    users = (await asyncio.wait_for(layer.receive("other"), 5))["users"]
    assert list(users.values()) == ["ann"]


async def test_a_large_room_is_told_what_changed(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One list for the newcomer, one small change for the others."""
    monkeypatch.setattr(presence, "SMALL", 1)
    ann = await visit(LOBBY)
    assert await ann.sees("ann")
    bob = await visit(LOBBY, "bob")
    assert await bob.sees("ann", "bob")
    change = await ann.receive_any()
    assert ([user["user"] for user in change.pop("joined")], change) == (
        ["bob"],
        {"type": "presence", "left": [], "count": 2},
    )
