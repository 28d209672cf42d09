"""Messages that wait for a client which does not read."""

import asyncio
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from websockets.frames import Frame, Opcode

from engine.history import JournalHistory, group_of
from engine.models import append
from realtime import conf, connection, history
from realtime.auth import select
from realtime.broadcast import apublish
from realtime.groups import TOGETHER_BYTES, Event, Group
from realtime.outbox import Disconnected, Outbox
from realtime.process import get_process, processes
from realtime.protocol import frame_of
from realtime.servers.direct import DirectWrites

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


class LendingSocket(DirectWrites, Socket):
    """A server's end that lends its transport while it is open."""

    room = 99  # frames until the transport is full
    broken = False

    def open_write(self):
        return self.write if self.open.is_set() else None

    def write(self, frame):
        if self.broken:
            raise RuntimeError("the transport is closed")
        self.sent.append(frame)
        self.room -= 1
        if self.room == 0:
            self.open.clear()
            self.take_back()


def frames(*texts):
    return [b"\x81" + bytes([len(text)]) + text.encode() for text in texts]


async def test_texts_are_written_to_a_lent_transport():
    """A lent transport gets the frames of texts while the client reads. Middleware around `send` hides it."""
    socket = LendingSocket()
    outbox = Outbox(socket.send, lambda code: None)
    outbox.deliver(text("1"))
    socket.room = 1
    for number in "234":
        outbox.deliver(text(number))
    socket.open.set()
    await outbox.wait_until_empty()
    outbox.deliver(text("5"))
    assert socket.sent == [*frames("1", "2"), "3", "4", *frames("5")]

    async def middleware(message):
        await socket.send(message)

    outbox = Outbox(middleware, lambda code: None)
    outbox.deliver(text("6"))
    assert socket.sent[5:] == ["6"]


async def test_selected_subprotocol_hides_no_transport():
    """A client that signs in by a subprotocol gets its texts as directly as others."""
    socket = LendingSocket()
    outbox = Outbox(select("bearer", socket.send), lambda code: None)
    outbox.deliver(text("1"))
    assert socket.sent == frames("1")


def member(name, socket):
    outbox = Outbox(socket.send, lambda code: None)
    return SimpleNamespace(id=name, user_id=name, user_name=name, outbox=outbox)


def room_of(*sockets, history=None):
    """Return a group with a live member for each socket."""
    group = Group("room", history)
    for number, socket in enumerate(sockets):
        group.go_live(group.add(member(str(number), socket)), None if history is None else 0)
    return group


async def test_broadcasts_reach_full_transports_once():
    """A transport that becomes full in a broadcast gets its event once. The next ones wait, in order."""
    sockets = [LendingSocket(), LendingSocket(), Socket()]
    group = room_of(*sockets)
    group.broadcast([Event(0, "1")])
    assert len(group.direct) == 2
    sockets[1].room = 1
    for number in "2345":
        group.broadcast([Event(0, number, "0" if number == "3" else "")])
    assert (len(group.direct), sockets[1].sent) == (1, frames("1", "2"))
    sockets[1].open.set()
    await group.members["1"].outbox.wait_until_empty()
    group.broadcast([Event(0, "6")])
    assert sockets[0].sent == frames("1", "2", "4", "5", "6")
    assert sockets[1].sent == [*frames("1", "2"), "3", "4", "5", *frames("6")]
    assert sockets[2].sent == [*"123456"]


async def test_broadcasts_skip_ended_transports():
    """A transport that raises does not delay the others. The server decides about its client."""
    sockets = [LendingSocket(), LendingSocket()]
    group = room_of(*sockets)
    group.broadcast([Event(0, "1")])
    sockets[0].broken = True
    group.broadcast([Event(0, "2")])
    assert [socket.sent for socket in sockets] == [[*frames("1"), "2"], frames("1", "2")]


async def test_closed_members_get_no_frame():
    """A change of the WebSocket's state, a stop of the outbox and a leave each end direct writes."""
    sockets = [LendingSocket(), LendingSocket(), LendingSocket()]
    group = room_of(*sockets)
    group.broadcast([Event(0, "1")])
    sockets[0].state = "closing"
    assert len(group.direct) == 2
    group.members["1"].outbox.stop()
    assert len(group.direct) == 1
    group.remove(group.members["2"].member)
    group.broadcast([Event(0, "2")])
    assert [socket.sent for socket in sockets] == [frames("1", "2"), frames("1"), frames("1")]


async def test_members_who_are_ahead_get_no_event_twice():
    """A member whose replay has events that the group has not broadcast yet does not get them again."""
    sockets = [LendingSocket(), LendingSocket()]
    group = room_of(sockets[0], history=JournalHistory("a"))
    ahead = group.add(member("ahead", sockets[1]))
    group.go_live(ahead, 2)
    for seq in (1, 2, 3):
        group.accept([Event(seq, str(seq))])
    assert [socket.sent for socket in sockets] == [frames("1", "2", "3"), frames("3")]
    group.go_live(ahead, 4)  # after another replay
    for seq in (4, 5):
        group.accept([Event(seq, str(seq))])
    assert sockets[1].sent == frames("3", "5")


async def test_events_of_one_moment_share_a_write():
    """A transport that takes frames at once gets them together, another one by one, neither more than once."""
    sockets = [LendingSocket(), Socket(), LendingSocket()]
    group = room_of(*sockets[:2], history=JournalHistory("a"))
    group.accept([Event(1, "1")])
    group.go_live(group.add(member("ahead", sockets[2])), 3)
    numbers = {"4": 4, "2": 2, "3": 3, "edited": 0, "typing": None, "5": 5}
    group.accept([Event(seq, text, "1" if text == "typing" else "") for text, seq in numbers.items()])
    assert sockets[0].sent == [*frames("1"), b"".join(frames("2", "3", "4", "edited", "typing", "5"))]
    assert sockets[1].sent == ["1", "2", "3", "4", "edited", "5"]
    assert sockets[2].sent == frames("4", "edited", "typing", "5")
    group.accept([Event(6, "6", "0"), Event(None, "typing", "0"), Event(7, "7")])
    assert sockets[0].sent[2:] == frames("6", "7")
    assert sockets[1].sent[6:] == ["6", "typing", "7"]


async def test_a_shared_write_is_bounded():
    """A transport is asked again whether it takes more before it gets much more than it holds."""
    socket = LendingSocket()
    group = room_of(socket, history=JournalHistory("a"))
    long = "x" * (TOGETHER_BYTES // 2)
    group.accept([Event(1, "1")])
    group.accept([Event(seq, long) for seq in range(2, 8)])
    assert [len(sent) // len(long) for sent in socket.sent] == [0, 3, 3]


async def test_layer_messages_keep_their_order():
    """Events that arrive together are delivered in the order of their arrival, also between other messages."""
    process = get_process()
    await process.start()
    sockets = [LendingSocket(), LendingSocket()]
    room = process.groups["room"] = room_of(*sockets)
    other = process.groups["other"] = Group("other")
    other.go_live(other.add(room.members["0"].member))
    room.members["1"].member.end = lambda code: room.remove(room.members["1"].member)
    event = {"type": "realtime.event", "group": "room", "seq": None, "sender": ""}
    for message in (
        *({**event, "text": number} for number in "123"),
        {**event, "text": "4", "sender": "0"},
        {**event, "text": "5", "group": "other"},
        {**event, "text": "6", "group": "unknown"},
        {**event, "text": "7"},
        {"type": "realtime.remove", "user": "1", "group": "room"},
        {**event, "text": "8"},
    ):
        await process.layer.send(process.hub.channel, message)
    async with asyncio.timeout(5):
        while not b"".join(sockets[0].sent).endswith(frames("8")[0]):
            await asyncio.sleep(0)
    await process.drain()
    processes.clear()
    assert sockets[0].sent == frames("1", "2", "3", "5", "7", "8")
    assert sockets[1].sent == frames("1", "2", "3", "4", "7")


async def test_members_who_leave_are_forgotten():
    """An outbox refers to no group that its connection has left."""
    socket = LendingSocket()
    one = member("1", socket)
    groups = [Group("first"), Group("second")]
    for group in groups:
        group.go_live(group.add(one))
        group.broadcast([Event(0, "1")])
    groups[0].remove(one)
    assert [borrower.group for borrower in one.outbox.borrowers] == groups[1:]
    groups[1].broadcast([Event(0, "2")])
    assert socket.sent == frames("1", "1", "2")


async def test_binary_messages_wait_before_later_texts():
    """A text does not overtake a binary message that the server holds back."""

    class Slow(LendingSocket):
        async def send(self, message):
            await asyncio.sleep(0)
            self.sent.append(message.get("text") or message["bytes"])

    socket = Slow()
    outbox = Outbox(socket.send, lambda code: None)
    outbox.deliver(text("1"))
    outbox.deliver({"type": "websocket.send", "bytes": b"2"})
    outbox.deliver(text("3"))
    await outbox.wait_until_empty()
    assert socket.sent == [*frames("1"), b"2", "3"]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_are_those_of_the_protocol(size):
    """A frame's head has the shortest form of its length (RFC 6455, section 5.2)."""
    data = b"x" * size
    assert frame_of("x" * size) == Frame(Opcode.TEXT, data).serialize(mask=False)


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
