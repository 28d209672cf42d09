"""What is published to a group reaches its members, from anywhere, in order."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import connections, transaction
from django.urls import path
from pytest_django import Settings

from chat.models import room_group, store_message
from config.routing import websocket_urlpatterns
from realtime import bus, history
from realtime.broadcast import apublish, disconnect_user, publish
from realtime.process import get_process
from tests.conftest import Visit
from tests.ordinary import OrdinaryConsumer

LOBBY = "/ws/chat/lobby/"
GROUP = room_group("lobby")


async def test_an_event_is_published_from_async_and_from_sync_code(visit: Visit) -> None:
    """A consumer or an async view awaits `apublish`; a view, a signal, a task calls `publish`."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    await apublish(GROUP, {"type": "news", "from": "async"})
    await sync_to_async(publish)(GROUP, {"type": "news", "from": "sync"})
    assert [(await ann.receive())["from"] for _ in range(2)] == ["async", "sync"]


async def test_the_sender_may_be_left_out(visit: Visit) -> None:
    """Only its own connection, not the user's others."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    (sender,) = get_process().groups[GROUP].members
    tab = await visit(LOBBY)
    await tab.receive_until("welcome")
    await apublish(GROUP, {"type": "news"}, sender=sender)
    assert await ann.hears_nothing()
    assert await tab.receive() == {"type": "news"}


@pytest.mark.django_db(transaction=True)
def test_an_event_is_published_on_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rolled back is never sent."""
    sent: list[str] = []

    async def group_send(group: str, message: dict[str, Any]) -> None:
        sent.append(message["text"])

    monkeypatch.setattr(get_channel_layer(), "group_send", group_send)
    with transaction.atomic():
        publish("group", {"type": "kept"})
        assert sent == []
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        publish("group", {"type": "lost"})
        raise ZeroDivisionError
    assert sent == ['{"type":"kept"}']


async def test_a_process_subscribes_once_and_only_while_it_has_members(visit: Visit) -> None:
    """However many they are, one event comes through the channel layer once."""
    layer: Any = get_channel_layer()
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    await ann.receive_until("welcome")
    await bob.receive_until("welcome")
    assert list(layer.groups[GROUP]) == [get_process().hub.channel]
    await ann.leave()
    assert GROUP in layer.groups
    await bob.leave()
    assert GROUP not in layer.groups
    assert GROUP not in get_process().groups


async def test_members_come_and_go_during_delivery(visit: Visit) -> None:
    """Those who stay hear everything, and nothing is left behind."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")

    async def come_and_go(name: str) -> None:
        for _ in range(5):
            visitor = await visit(LOBBY, name)
            await visitor.receive_until("welcome")
            await visitor.leave()

    async def speak() -> None:
        for number in range(100):
            await apublish(GROUP, {"type": "news", "number": number})
            await asyncio.sleep(0)

    await asyncio.gather(speak(), *(come_and_go(name) for name in ("bob", "cem", "eve")))
    assert [(await ann.receive())["number"] for _ in range(100)] == list(range(100))
    assert len(get_process().groups[GROUP].members) == 1


async def test_ordinary_channels_code_works_beside_it(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer may add its own channel to groups, and handle messages by their type."""
    route: Any = path("ws/ordinary/", OrdinaryConsumer.as_asgi())  # type: ignore[arg-type]
    monkeypatch.setattr("config.routing.websocket_urlpatterns", websocket_urlpatterns)
    websocket_urlpatterns.insert(0, route)
    try:
        ann = await visit("/ws/ordinary/")
        assert await ann.receive() == {"type": "joined"}
        layer: Any = get_channel_layer()
        await layer.group_send("news", {"type": "news.item", "title": "It works"})
        assert await ann.receive() == {"type": "item", "title": "It works"}
        assert await ann.hears_nothing()
        await ann.leave()
        assert "news" not in layer.groups
    finally:
        websocket_urlpatterns.remove(route)


async def store(*texts: str) -> list[dict[str, Any]]:
    """Messages that are stored, and not published."""
    store = sync_to_async(store_message)
    return [(await store("lobby", "bob", text, text))[0].event() for text in texts]


async def test_what_the_channel_layer_lost_comes_with_the_next(visit: Visit) -> None:
    """From the database, in order, once."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    events = await store("1", "2", "3")
    await apublish(GROUP, events[2])
    assert [await ann.receive() for _ in range(3)] == events
    await apublish(GROUP, events[1])
    assert await ann.hears_nothing()


async def test_what_was_swapped_is_put_in_order(visit: Visit) -> None:
    """Two that are published at the same time may overtake each other."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    events = await store("1", "2", "3")
    for event in (events[1], events[2], events[0]):
        await apublish(GROUP, event)
    assert [await ann.receive() for _ in range(3)] == events
    assert await ann.hears_nothing()


async def test_what_was_lost_last_comes_soon(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although nothing follows: the process looks for it regularly."""
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.1)
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    (event,) = await store("1")
    assert await ann.receive() == event


async def test_a_room_is_entered_while_the_layer_is_away(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is back, what is stored is what members hear of."""

    async def fail(group: str, channel: str) -> None:
        raise ConnectionError

    layer: Any = get_channel_layer()
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.1)
    with monkeypatch.context() as away:
        away.setattr(layer, "group_add", fail)
        ann = await visit(LOBBY)
        await ann.receive_until("welcome")
        (event,) = await store("1")
        assert await ann.receive() == event
        assert (GROUP in layer.groups, bus.PROCESSES in layer.groups) == (False, False)
    await asyncio.sleep(0.3)
    assert (GROUP in layer.groups, bus.PROCESSES in layer.groups) == (True, True)
    await apublish(GROUP, {"type": "news"})
    assert await ann.receive() == {"type": "news"}


async def test_more_than_the_replay_carries_is_a_gap(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest come, and the rest is named."""
    monkeypatch.setattr(history, "MAX_REPLAY", 2)
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    events = await store("1", "2", "3", "4")
    await apublish(GROUP, events[3])
    assert await ann.receive() == {"type": "gap", "after": 0, "before": 3}
    assert [await ann.receive() for _ in range(2)] == events[2:]


@pytest.mark.parametrize(
    ("limit", "value"), [("REALTIME_MAX_OUTBOX", 2), ("REALTIME_MAX_OUTBOX_BYTES", 300)]
)
async def test_what_overtakes_is_bounded(
    limit: str, value: int, visit: Visit, settings: Settings
) -> None:
    """What a process does not keep comes from the database."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    events = await store(*map(str, range(10)))
    setattr(settings, limit, value)
    for event in events[1:]:
        await apublish(GROUP, event)
    topic = get_process().groups[GROUP]
    await asyncio.sleep(0)
    assert 1 < len(topic.ahead) < 5
    setattr(settings, limit, 10_000)
    assert [await ann.receive() for _ in events] == events
    assert (topic.ahead, topic.ahead_bytes) == ({}, 0)


async def test_publish_is_refused_in_the_event_loop(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for itself for ever, as in an async view with DJANGO_ALLOW_ASYNC_UNSAFE."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    with pytest.raises(RuntimeError, match=r"Use await apublish\(\) instead"):
        publish(GROUP, {"type": "news"})
    with pytest.raises(
        RuntimeError, match=r"Use await sync_to_async\(disconnect_user\)\(\) instead"
    ):
        disconnect_user("1")
    assert await ann.hears_nothing()


async def test_a_plain_thread_may_publish(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows nothing of the event loop which the sockets are in, where the layer lives."""
    layer: Any = get_channel_layer()
    group_send, loops = layer.group_send, []

    async def remember_loop(group: str, message: dict[str, Any]) -> None:
        loops.append(asyncio.get_running_loop())
        await group_send(group, message)

    def work() -> None:
        publish(GROUP, {"type": "news"})
        connections.close_all()

    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    monkeypatch.setattr(layer, "group_send", remember_loop)
    thread = threading.Thread(target=work)
    thread.start()
    assert await ann.receive() == {"type": "news"}
    await asyncio.to_thread(thread.join)
    assert loops == [asyncio.get_running_loop()]


async def test_a_sign_out_outlives_the_channel_layer(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it counts at once; elsewhere when the layer is back, and again when all hear it."""
    ann = await visit(LOBBY)
    user = (await ann.receive_until("welcome"))[-1]["user_id"]
    tries: list[str] = []

    async def fail_first(group: str, message: dict[str, Any]) -> None:
        if message["type"] == "realtime.disconnect":
            tries.append(message["user"])
            if len(tries) == 1:
                raise ConnectionError("away")

    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(get_process().layer, "group_send", fail_first)
    await sync_to_async(disconnect_user)(user)
    assert await ann.close_code() == 4403
    await asyncio.sleep(0.5)
    assert tries == [user] * 3
