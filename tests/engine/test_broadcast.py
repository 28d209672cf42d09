"""Events that are published to a group reach its members, from any code, in order."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import connections, transaction

from engine.history import group_of, store
from realtime import bus, process
from realtime.broadcast import apublish, disconnect_user, publish, warn_of_memory
from realtime.process import get_process

PATH = "/ws/journal/a/"
GROUP = group_of("a")


async def test_event_is_published_from_async_and_sync_code(visit):
    """`apublish` is for async code, `publish` for sync code."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    await apublish(GROUP, {"type": "news", "from": "async"})
    await sync_to_async(publish)(GROUP, {"type": "news", "from": "sync"})
    assert [(await ann.receive())["from"] for _ in range(2)] == ["async", "sync"]


async def test_event_without_sockets_is_reported_once(visit, caplog, monkeypatch):
    """A command has no sockets, and shares no memory with the server. A server may have none yet."""
    warn_of_memory.cache_clear()
    ann = await visit(PATH)
    await apublish(GROUP, {"type": "news"})
    monkeypatch.setattr(process, "is_serving", True)
    await ann.disconnect()
    await apublish(GROUP, {"type": "news"})
    assert "in-memory" not in caplog.text
    monkeypatch.setattr(process, "is_serving", False)
    await apublish(GROUP, {"type": "news", "seq": 1})  # stored, so the server finds it
    assert "in-memory" not in caplog.text
    for _ in range(2):
        await apublish(GROUP, {"type": "news"})
    assert caplog.text.count("The in-memory channel layer does not reach the server's process") == 1


@pytest.mark.parametrize("event", [{}, {"text": "hello"}, {"type": 1}])
async def test_event_without_a_type_is_refused(event):
    """Clients choose what to do by the type, and would drop the event silently."""
    with pytest.raises(ValueError, match="Give the event a type"):
        await apublish(GROUP, event)
    with pytest.raises(ValueError, match="Give the event a type"):
        await sync_to_async(publish)(GROUP, event)


async def test_sender_is_left_out(visit):
    """The sending connection does not receive the event. The user's other connections do."""
    ann, tab = await visit(PATH), await visit(PATH)
    await ann.receive_until("welcome")
    (welcome,) = await tab.receive_until("welcome")
    await ann.send(type="wave")
    assert await tab.receive() == {"type": "wave", "user": "ann", "user_id": welcome["user_id"]}
    assert await ann.receives_nothing()


async def test_sender_is_left_out_of_a_publish(visit):
    """The member with the id of `sender` does not receive the event."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    (sender,) = get_process().groups[GROUP].members
    tab = await visit(PATH)
    await tab.receive_until("welcome")
    await apublish(GROUP, {"type": "news"}, sender=sender)
    assert await ann.receives_nothing()
    assert await tab.receive() == {"type": "news"}


async def test_lone_surrogate_is_replaced(visit):
    """Text that UTF-8 cannot encode arrives as "?", and the next event arrives, too."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    for word in ("a\ud800b", "é"):
        await apublish(GROUP, {"type": "news", "text": word})
    assert [(await ann.receive())["text"] for _ in range(2)] == ["a?b", "é"]


async def test_a_layer_message_that_fails_ends_nothing(visit, monkeypatch, caplog):
    """An exception in a delivery is logged, and the next event arrives."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    group = get_process().groups[GROUP]
    monkeypatch.setattr(group, "accept", lambda events, sender: 1 / 0)
    await apublish(GROUP, {"type": "news", "text": "lost"})
    assert await ann.receives_nothing()
    monkeypatch.undo()
    await apublish(GROUP, {"type": "news", "text": "next"})
    assert (await ann.receive())["text"] == "next"
    assert "Events were not delivered" in caplog.text
    caplog.clear()


async def test_number_of_another_event_changes_no_order(visit):
    """An event that is not numbered is delivered once, and the numbered ones follow."""
    await store("1")
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    events = [{"type": "changed", "seq": seq} for seq in (1, 2)]
    await apublish(GROUP, events[0], numbered=False)
    await sync_to_async(publish)(GROUP, events[1], numbered=False)
    assert [await ann.receive() for _ in events] == events
    await ann.send(type="append", ref="a1", text="2")
    assert (await ann.receive())["seq"] == 2


@pytest.mark.django_db(transaction=True)
def test_event_is_published_on_commit(monkeypatch):
    """An event is sent after the commit, and never after a rollback."""
    sent = []

    async def group_send(group, message):
        sent.append(message["text"])

    monkeypatch.setattr(get_channel_layer(), "group_send", group_send)
    with transaction.atomic():
        publish("group", {"type": "kept"})
        assert sent == []
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        publish("group", {"type": "lost"})
        raise ZeroDivisionError
    assert sent == ['{"type":"kept"}']


async def test_member_that_comes_back_keeps_the_subscription(visit):
    """A group that has members again at the next beat receives events."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    await ann.disconnect()
    bob = await visit(PATH, "bob")
    await bob.receive_until("welcome")
    await get_process().hub.end_left()
    await apublish(GROUP, {"type": "note"})
    assert await bob.receive_until("note")


async def test_process_subscribes_once_while_it_has_members(visit):
    """One event comes through the channel layer once, however many members the group has.

    The subscription ends with the next beat, so that those who come back at once need no new one.
    """
    layer = get_channel_layer()
    ann, bob = await visit(PATH), await visit(PATH, "bob")
    await ann.receive_until("welcome")
    await bob.receive_until("welcome")
    assert list(layer.groups[GROUP]) == [get_process().hub.channel]
    await ann.disconnect()
    assert GROUP in layer.groups
    await bob.disconnect()
    assert GROUP in layer.groups
    await get_process().hub.end_left()
    assert GROUP not in layer.groups
    assert GROUP not in get_process().groups


async def test_groups_are_separate(visit):
    """An event reaches the members of its group only."""
    ann, bob = await visit(PATH), await visit("/ws/journal/b/", "bob")
    await ann.receive_until("welcome")
    await bob.receive_until("welcome")
    await ann.send(type="append", ref="a1", text="hi")
    await ann.receive_until("entry")
    assert await bob.receives_nothing()


async def test_members_join_and_leave_during_delivery(visit):
    """A member that stays receives every event while others join and leave."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")

    async def join_and_leave(name):
        for _ in range(5):
            visitor = await visit(PATH, name)
            await visitor.receive_until("welcome")
            await visitor.disconnect()

    async def broadcast():
        for number in range(100):
            await apublish(GROUP, {"type": "news", "number": number})
            await asyncio.sleep(0)

    await asyncio.gather(broadcast(), *(join_and_leave(name) for name in ("bob", "cem", "eve")))
    assert [(await ann.receive())["number"] for _ in range(100)] == list(range(100))
    assert len(get_process().groups[GROUP].members) == 1


async def test_group_is_joined_while_the_layer_is_down(visit, monkeypatch):
    """Members are served from the history until the process can subscribe."""

    async def fail(group, channel):
        raise ConnectionError

    layer = get_channel_layer()
    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.1)
    with monkeypatch.context() as down:
        down.setattr(layer, "group_add", fail)
        ann = await visit(PATH)
        await ann.receive_until("welcome")
        (event,) = await store("1")
        assert await ann.receive() == event
        assert (GROUP in layer.groups, bus.PROCESSES in layer.groups) == (False, False)
    await asyncio.sleep(0.3)
    assert (GROUP in layer.groups, bus.PROCESSES in layer.groups) == (True, True)
    await apublish(GROUP, {"type": "news"})
    assert await ann.receive() == {"type": "news"}


async def test_failed_publish_keeps_the_connection(visit, monkeypatch):
    """An event is stored while the channel layer is down, and a repeated `ref` is acknowledged."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")

    async def fail(*_):
        raise ConnectionError("down")

    monkeypatch.setattr(get_channel_layer(), "group_send", fail)
    await ann.send(type="append", ref="a1", text="hi")
    assert await ann.receives_nothing()
    await ann.send(type="append", ref="a1", text="hi")
    assert (await ann.receive())["ref"] == "a1"


async def test_publish_is_refused_in_the_event_loop(visit, monkeypatch):
    """A blocking call in the event loop raises RuntimeError, also with DJANGO_ALLOW_ASYNC_UNSAFE."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    with pytest.raises(RuntimeError, match=r"Use await apublish\(\) instead"):
        publish(GROUP, {"type": "news"})
    with pytest.raises(RuntimeError, match=r"Use await sync_to_async\(disconnect_user\)\(\) instead"):
        disconnect_user("1")
    assert await ann.receives_nothing()


async def test_plain_thread_publishes(visit, monkeypatch):
    """A thread without an event loop publishes in the loop of the sockets."""
    layer = get_channel_layer()
    group_send, loops = layer.group_send, []

    async def remember_loop(group, message):
        loops.append(asyncio.get_running_loop())
        await group_send(group, message)

    def work():
        publish(GROUP, {"type": "news"})
        connections.close_all()

    ann = await visit(PATH)
    await ann.receive_until("welcome")
    monkeypatch.setattr(layer, "group_send", remember_loop)
    thread = threading.Thread(target=work)
    thread.start()
    assert await ann.receive() == {"type": "news"}
    await asyncio.to_thread(thread.join)
    assert loops == [asyncio.get_running_loop()]


async def test_sign_out_survives_a_layer_outage(visit, monkeypatch):
    """A sign-out works here at once. Other processes receive it when the layer is back, and once more."""
    ann = await visit(PATH)
    user = (await ann.receive_until("welcome"))[-1]["user_id"]
    tries = []

    async def fail_first(group, message):
        if message["type"] == "realtime.disconnect":
            tries.append(message["user"])
            if len(tries) == 1:
                raise ConnectionError("down")

    monkeypatch.setattr(bus, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(get_process().layer, "group_send", fail_first)
    await sync_to_async(disconnect_user)(user)
    assert await ann.close_code() == 4403
    await asyncio.sleep(0.5)
    assert tries == [user] * 3
