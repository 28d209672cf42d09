"""Messages that wait for a client which does not read."""

import asyncio
import threading
from contextlib import suppress

import pytest
from asgiref.sync import sync_to_async

from engine.history import JournalHistory, group_of
from engine.models import append
from realtime import conf, connection, history
from realtime.broadcast import apublish
from realtime.outbox import Disconnected, Outbox
from realtime.process import get_process

PATH = "/ws/journal/a/"
GROUP = group_of("a")


class Socket:
    """A server's end of a connection, which accepts messages while it is open."""

    def __init__(self):
        self.open = asyncio.Event()
        self.open.set()
        self.sent = []

    async def send(self, message):
        await self.open.wait()
        self.sent.append(message.get("text") or message.get("code"))


def text(value):
    return {"type": "websocket.send", "text": value}


async def test_messages_wait_in_order():
    """`deliver` does not wait for a client that does not read. Messages arrive in order once it reads."""
    socket = Socket()
    outbox = Outbox(socket.send, lambda code: None)
    outbox.deliver(text("1"))
    assert socket.sent == ["1"]
    socket.open.clear()
    outbox.deliver(text("2"))
    outbox.deliver(text("3"))
    sending = asyncio.create_task(outbox.send(text("4")))
    await asyncio.sleep(0)
    assert (socket.sent, sending.done()) == (["1"], False)
    socket.open.set()
    await sending
    assert socket.sent == ["1", "2", "3", "4"]


class QuickSocket(Socket):
    """A server's end that writes texts without waiting while it is open."""

    def write_text(self, value):
        if self.open.is_set():
            self.sent.append(f"quick {value}")
        return self.open.is_set()


async def test_server_writes_texts_without_a_task():
    """A server's `write_text` is used while the client reads, and never past middleware around `send`."""
    socket = QuickSocket()
    outbox = Outbox(socket.send, lambda code: None)
    outbox.deliver(text("1"))
    socket.open.clear()
    outbox.deliver(text("2"))
    outbox.deliver(text("3"))
    socket.open.set()
    await outbox.wait_until_empty()
    assert socket.sent == ["quick 1", "2", "3"]

    async def middleware(message):
        await socket.send(message)

    outbox = Outbox(middleware, lambda code: None)
    outbox.deliver(text("4"))
    assert socket.sent[3:] == ["4"]


async def test_too_many_messages_close_the_client(settings):
    """Too many messages are replaced by a close with 4408."""
    settings.REALTIME_MAX_OUTBOX = 2
    ends = []
    socket = Socket()
    socket.open.clear()
    outbox = Outbox(socket.send, ends.append)
    outbox.accepted = True
    for number in range(5):
        outbox.deliver(text(str(number)))
    await asyncio.sleep(0)
    socket.open.set()
    await outbox.wait_until_empty()
    assert (socket.sent, ends) == ([4408], [4408])


async def test_too_many_bytes_close_the_client(settings):
    """Waiting messages are counted in UTF-8 bytes as well, and replaced by a close with 4408."""
    settings.REALTIME_MAX_OUTBOX_BYTES = 8
    ends = []
    socket = Socket()
    socket.open.clear()
    outbox = Outbox(socket.send, ends.append)
    outbox.accepted = True
    for value in ("in flight", "🐌", "4321"):
        outbox.deliver(text(value))
    assert ends == []
    outbox.deliver(text("1"))
    socket.open.set()
    await outbox.wait_until_empty()
    assert (socket.sent, ends) == ([4408], [4408])


async def test_one_message_may_exceed_the_outbox(settings):
    """A client that reads receives every message, however large."""
    settings.REALTIME_MAX_OUTBOX_BYTES = 8
    socket = Socket()
    socket.open.clear()
    outbox = Outbox(socket.send, lambda code: None)
    for _ in range(2):
        outbox.deliver(text("larger than that"))
    socket.open.set()
    await outbox.wait_until_empty()
    assert socket.sent == ["larger than that"] * 2


async def test_middleware_may_use_timeouts_around_send():
    """Each message is sent in one task, which timeouts and cancel scopes need."""
    socket = Socket()

    async def send(message):
        async with asyncio.timeout(5):
            task = asyncio.current_task()
            await asyncio.sleep(0)
            await socket.send(message)
            assert asyncio.current_task() is task

    outbox = Outbox(send, lambda code: None)
    for number in range(30):
        outbox.deliver(text(str(number)))
        await asyncio.sleep(0)
    await outbox.wait_until_empty()
    asyncio.get_running_loop().call_soon(outbox.deliver, text("from a callback"))
    await asyncio.sleep(0)
    await outbox.wait_until_empty()
    assert socket.sent == [*map(str, range(30)), "from a callback"]


async def test_nothing_is_sent_after_the_end(caplog):
    """Nothing is sent after a close, to a client that is gone, or after a failure of the server."""
    sent = []

    async def send(message):
        sent.append(message["type"])
        if message["type"] == "gone":
            raise OSError
        if message["type"] == "bad":
            raise ValueError

    for last in ("websocket.close", "gone", "bad"):
        outbox = Outbox(send, lambda code: None)
        with suppress(Disconnected):
            await outbox.send({"type": last})
        outbox.deliver({"type": "late"})
    assert sent == ["websocket.close", "gone", "bad"]
    for _ in range(2):
        with pytest.raises(Disconnected):
            await outbox.send({"type": "late"})
    assert "The server did not accept a message" in caplog.text


async def test_slow_member_does_not_delay_the_others(visit, settings, monkeypatch):
    """A member that does not read is closed and forgotten. The other members receive every event."""
    settings.REALTIME_MAX_OUTBOX = 10
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    ann, bob = await visit(PATH), await visit(PATH, "bob")
    assert await ann.sees("ann", "bob")
    bob.limit_unread(1)
    for number in range(20):
        await apublish(GROUP, {"type": "news", "number": number})
    assert [(await ann.receive())["number"] for _ in range(20)] == list(range(20))
    await bob.communicator.wait(5)
    assert list(get_process().groups[GROUP].presence.users().values()) == ["ann"]


async def test_slow_client_blocks_no_thread(visit):
    """Handlers of other connections run while a client does not read, whichever thread they share."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    ann.limit_unread(1)
    for _ in range(5):
        await ann.send(type="append", ref="a1", text="hi")
    for number in range(conf.settings.REALTIME_THREADS):
        other = await visit("/ws/journal/b/", f"user-{number}")
        await other.receive_until("welcome")
        await other.send(type="append", ref="b1", text=str(number))
        texts = [event.get("text") for event in await other.receive_until("entry")]
        while str(number) not in texts:
            texts.append((await other.receive())["text"])
    ann.limit_unread(0)
    await ann.receive_until("entry")


@pytest.mark.parametrize(("limit", "value"), [("REALTIME_MAX_OUTBOX", 3), ("REALTIME_MAX_OUTBOX_BYTES", 100)])
async def test_slow_newcomer_is_closed(limit, value, visit, settings, monkeypatch):
    """Events that are held back during a replay are bounded by the same limits."""
    setattr(settings, limit, value)
    await sync_to_async(append)("a", "bob", "b1", "hi")
    replayed = threading.Event()
    monkeypatch.setattr(JournalHistory, "between", lambda *_: replayed.wait(5) and [])
    ann = await visit(f"{PATH}?after=0")
    await ann.receive_until("welcome")
    for number in range(4):
        await apublish(GROUP, {"type": "news", "number": number})
    assert await ann.close_code() == 4408
    replayed.set()


async def test_unread_replay_ends(visit, settings, monkeypatch):
    """A client that does not read its replay is closed with 4408, and the rest is not read."""
    settings.REALTIME_REPLAY_SECONDS = 0.2
    monkeypatch.setattr(history, "CHUNK_BYTES", 1)
    for number in range(20):
        await sync_to_async(append)("a", "bob", str(number), "hi")
    arrived = threading.Event()
    between = JournalHistory.between
    ranges = []

    def wait_for_the_client(self, after, until):
        arrived.wait(5)
        ranges.append((after, until))
        return between(self, after, until)

    monkeypatch.setattr(JournalHistory, "between", wait_for_the_client)
    ann = await visit(f"{PATH}?after=0")
    ann.limit_unread(5)
    (socket,) = get_process().connections
    arrived.set()
    assert socket.work is not None
    await asyncio.wait({socket.work}, timeout=5)
    assert await ann.close_code() == 4408
    await ann.communicator.wait(5)
    assert 2 < len(ranges) < 10
