"""One socket from its handshake to its end."""

import asyncio

import pytest
from channels.exceptions import StopConsumer
from channels.layers import get_channel_layer
from django.db import InterfaceError, OperationalError

from engine.history import group_of
from engine.routing import consumers
from realtime.asgi import lifespan
from realtime.process import get_process

PATH = "/ws/journal/a/"


async def test_ping_is_answered(visit):
    """A ping is answered with a pong."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    await ann.send(type="ping")
    assert await ann.receive() == {"type": "pong"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad_json"),
        ("", "bad_json"),
        ("[" * 60_000, "bad_json"),
        ("9" * 5000, "bad_json"),
        ("[]", "bad_message"),
        ("null", "bad_message"),
        ("{}", "bad_message"),
        ('{"type": 1}', "bad_message"),
        ('{"type": "realtime_event"}', "unknown_type"),
        ('{"type": "websocket.disconnect"}', "unknown_type"),
        ("x" * (64 * 1024 + 1), "too_long"),
    ],
)
async def test_bad_frame_is_refused(visit, text, code):
    """A bad frame is answered with an error, and the connection stays open."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    await ann.send_text(text)
    error = await ann.receive()
    assert (error["type"], error["code"], error["ref"]) == ("error", code, None)
    assert await ann.receives_nothing()


async def test_binary_frame_is_refused(visit):
    """A binary frame is answered with an error, and the connection stays open."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    await ann.send_bytes(b"{}")
    assert (await ann.receive())["code"] == "binary"
    assert await ann.receives_nothing()


async def test_ten_errors_in_a_row_close_the_connection(visit):
    """Ten errors in a row close with 4400. A good event restarts the count."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    for _ in range(2):
        for _ in range(9):
            await ann.send_text("{")
            await ann.receive_until("error")
        assert await ann.receives_nothing()
    for _ in range(10):
        await ann.send_text("{")
    assert await ann.close_code() == 4400


async def test_unknown_path_is_closed(visit):
    """A socket on an unknown path opens, then closes with 4404."""
    ann = await visit("/ws/nothing/")
    assert (ann.connected, await ann.close_code()) == (True, 4404)


async def test_slow_handler_does_not_delay_the_disconnect(visit, slow_store):
    """The other members see at once that a user left, and the user's last event is handled."""
    storing, released = slow_store
    ann, bob = await visit(PATH), await visit(PATH, "bob")
    assert await bob.sees("ann", "bob")
    assert await ann.sees("ann", "bob")
    await ann.send(type="append", ref="a1", text="hi")
    assert await asyncio.to_thread(storing.wait, 5)
    await ann.communicator.send_input({"type": "websocket.disconnect", "code": 1001})
    assert await bob.sees("bob")
    released.set()
    assert (await bob.receive())["text"] == "hi"


async def test_disconnect_is_called_after_a_failure(visit, monkeypatch, caplog):
    """`disconnect()` is called after a handler failed. A failure of its own is logged."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    monkeypatch.setattr(consumers, "append", lambda *_: 1 / 0)
    monkeypatch.setattr(consumers.JournalConsumer, "disconnect", lambda *_: 1 / 0)
    await ann.send(type="append", ref="a1", text="hi")
    assert await ann.close_code() == 1011
    await ann.communicator.wait(timeout=5)
    assert "JournalConsumer.disconnect failed" in caplog.text


async def test_failing_consumer_leaves_its_groups(visit, monkeypatch):
    """An uncaught exception closes with 1011, and the process unsubscribes with the next beat."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    layer = get_channel_layer()
    assert group_of("a") in layer.groups
    monkeypatch.setattr(consumers, "append", lambda *_: 1 / 0)
    await ann.send(type="append", ref="a1", text="hi")
    assert await ann.close_code() == 1011
    await ann.communicator.wait(timeout=5)
    await get_process().hub.end_left()
    assert group_of("a") not in layer.groups


async def test_socket_opens_before_it_closes(visit, monkeypatch):
    """A socket is accepted before it closes with 1011, also if the channel layer is down from the start."""

    async def fail(*_):
        raise ConnectionError("down")

    monkeypatch.setattr(get_channel_layer(), "new_channel", fail)
    ann = await visit(PATH)
    assert (ann.connected, await ann.close_code()) == (True, 1011)


@pytest.mark.parametrize("error", [InterfaceError, OperationalError])
async def test_database_outage_keeps_the_connection(error, visit, monkeypatch):
    """Each event during an outage is answered with `unavailable`, and may be sent again."""

    def fail(*_):
        raise error("down")

    ann = await visit(PATH)
    await ann.receive_until("welcome")
    with monkeypatch.context() as patch:
        patch.setattr(consumers, "append", fail)
        for _ in range(11):
            await ann.send(type="append", ref="a1", text="hi")
            refused = (await ann.receive_until("error"))[-1]
            assert (refused["code"], refused["ref"]) == ("unavailable", "a1")
    await ann.send(type="append", ref="a1", text="hi")
    assert (await ann.receive_until("entry"))[-1]["seq"] == 1


async def test_failing_unsubscribe_is_logged(visit, monkeypatch, caplog):
    """A connection and its group end normally while the channel layer is down."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")

    async def fail(*_):
        raise ConnectionError("down")

    monkeypatch.setattr(get_channel_layer(), "group_discard", fail)
    await ann.disconnect()
    await get_process().hub.end_left()
    assert "A group could not be left" in caplog.text
    assert group_of("a") not in get_process().groups


async def test_ordinary_channels_code_works(visit):
    """A consumer may add its own channel to groups, and handle layer messages by type."""
    ann = await visit("/ws/ordinary/")
    assert await ann.receive() == {"type": "joined"}
    layer = get_channel_layer()
    await layer.group_send("news", {"type": "news.item", "title": "It works"})
    assert await ann.receive() == {"type": "item", "title": "It works"}
    assert await ann.receives_nothing()
    await ann.disconnect()
    assert "news" not in layer.groups


async def test_lifespan_is_answered():
    """Each lifespan event of the server is answered with its completion."""
    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    answers = []

    async def receive():
        return next(incoming)

    async def send(message):
        answers.append(message["type"])

    await lifespan({"type": "lifespan"}, receive, send)
    assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_consumer_may_stop(visit, monkeypatch):
    """StopConsumer in a handler closes the socket in good order."""

    def stop(*_):
        raise StopConsumer

    ann = await visit(PATH)
    await ann.receive_until("welcome")
    monkeypatch.setattr(consumers, "append", stop)
    await ann.send(type="append", ref="a1", text="hi")
    assert await ann.close_code() == 1000


async def test_process_needs_a_channel_layer(settings):
    """Without CHANNEL_LAYERS the error names the setting."""
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(RuntimeError, match="CHANNEL_LAYERS: no default layer"):
        get_process()
