"""What happens when a client does not read."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chat.history import RoomHistory
from chat.models import room_group, store_message
from realtime import connection, history
from realtime.broadcast import apublish
from realtime.conf import settings
from realtime.outbox import Outbox
from realtime.process import get_process
from tests.conftest import Visit

LOBBY = "/ws/chat/lobby/"
GROUP = room_group("lobby")


class Socket:
    """A server's end of a connection, which takes messages only while it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.sent: list[Any] = []

    async def send(self, message: dict[str, Any]) -> None:
        await self.open.wait()
        self.sent.append(message.get("text") or message.get("code"))


def text(value: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": value}


async def test_messages_wait_in_order() -> None:
    """Nobody waits for a client that does not read; it gets all when it does."""
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

    def write_text(self, value: str) -> bool:
        if self.open.is_set():
            self.sent.append(f"quick {value}")
        return self.open.is_set()


async def test_a_server_may_write_texts_without_a_task() -> None:
    """It does so while the client keeps up, and middleware around `send` is never passed over."""
    socket = QuickSocket()
    outbox = Outbox(socket.send, lambda code: None)
    outbox.deliver(text("1"))
    socket.open.clear()
    outbox.deliver(text("2"))
    outbox.deliver(text("3"))
    socket.open.set()
    await outbox.wait_until_empty()
    assert socket.sent == ["quick 1", "2", "3"]

    async def middleware(message: dict[str, Any]) -> None:
        await socket.send(message)

    outbox = Outbox(middleware, lambda code: None)
    outbox.deliver(text("4"))
    assert socket.sent[3:] == ["4"]


async def test_too_many_messages_close_the_client(settings: Settings) -> None:
    """With 4408, instead of what was under way and what waited: that comes by the replay."""
    settings.REALTIME_MAX_OUTBOX = 2
    gave_up: list[bool] = []
    socket = Socket()
    socket.open.clear()
    outbox = Outbox(socket.send, lambda code: gave_up.append(True))
    outbox.accepted = True
    for number in range(5):
        outbox.deliver(text(str(number)))
    await asyncio.sleep(0)
    socket.open.set()
    await outbox.wait_until_empty()
    assert (socket.sent, gave_up) == ([4408], [True])


async def test_too_many_bytes_close_the_client(settings: Settings) -> None:
    """Few messages may be large: what waits is counted in UTF-8 too."""
    settings.REALTIME_MAX_OUTBOX_BYTES = 8
    gave_up: list[bool] = []
    socket = Socket()
    socket.open.clear()
    outbox = Outbox(socket.send, lambda code: gave_up.append(True))
    outbox.accepted = True
    for value in ("under way", "🐌", "4321"):
        outbox.deliver(text(value))
    assert gave_up == []
    outbox.deliver(text("1"))
    socket.open.set()
    await outbox.wait_until_empty()
    assert (socket.sent, gave_up) == ([4408], [True])


async def test_one_message_may_be_larger_than_the_outbox(settings: Settings) -> None:
    """A client that reads gets every event, however large."""
    settings.REALTIME_MAX_OUTBOX_BYTES = 8
    socket = Socket()
    socket.open.clear()
    outbox = Outbox(socket.send, lambda code: None)
    for _ in range(2):
        outbox.deliver(text("larger than that"))
    socket.open.set()
    await outbox.wait_until_empty()
    assert socket.sent == ["larger than that"] * 2


async def test_middleware_may_use_timeouts_around_send() -> None:
    """Each message is sent in one task, which timeouts and cancel scopes need."""
    socket = Socket()

    async def send(message: dict[str, Any]) -> None:
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


async def test_nothing_is_sent_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Neither after a close, nor to a client that went away, nor after a server's own failure."""
    sent: list[str] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] == "gone":
            raise OSError
        if message["type"] == "bad":
            raise ValueError

    for last in ("websocket.close", "gone", "bad"):
        outbox = Outbox(send, lambda code: None)
        await outbox.send({"type": last})
        outbox.deliver({"type": "late"})
    assert sent == ["websocket.close", "gone", "bad"]
    assert "The server did not accept a message" in caplog.text


async def test_the_others_do_not_notice(
    visit: Visit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that does not read is closed and forgotten; the rest of the room hears all."""
    settings.REALTIME_MAX_OUTBOX = 10
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    assert await ann.sees("ann", "bob")
    monkeypatch.setattr(bob.communicator.output_queue, "_maxsize", 1)  # and nobody takes it
    for number in range(20):
        await apublish(GROUP, {"type": "news", "number": number})
    assert [(await ann.receive())["number"] for _ in range(20)] == list(range(20))
    await bob.communicator.wait(5)
    presence = get_process().groups[GROUP].presence
    assert presence is not None
    assert list(presence.users().values()) == ["ann"]


async def test_a_client_that_does_not_read_holds_up_no_thread(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handlers of others run, whichever thread they share."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    monkeypatch.setattr(ann.communicator.output_queue, "_maxsize", 1)  # and nobody takes it
    for _ in range(5):
        await ann.send(type="send", ref="a1", text="hi")
    for number in range(settings.REALTIME_THREADS):
        other = await visit("/ws/chat/attic/", f"user-{number}")
        await other.receive_until("welcome")
        await other.send(type="send", ref="b1", text=str(number))
        texts = [event.get("text") for event in await other.receive_until("message")]
        while str(number) not in texts:
            texts.append((await other.receive())["text"])


@pytest.mark.parametrize(
    ("limit", "value"), [("REALTIME_MAX_OUTBOX", 3), ("REALTIME_MAX_OUTBOX_BYTES", 100)]
)
async def test_a_slow_newcomer_is_closed_too(
    limit: str, value: int, visit: Visit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept back during the replay is bounded like the rest."""
    setattr(settings, limit, value)
    await sync_to_async(store_message)("lobby", "bob", "b1", "hi")
    replayed = threading.Event()
    monkeypatch.setattr(RoomHistory, "between", lambda *_: replayed.wait(5) and [])
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    for number in range(4):
        await apublish(GROUP, {"type": "news", "number": number})
    assert await ann.close_code() == 4408
    replayed.set()


async def test_a_replay_that_is_not_read_ends(
    visit: Visit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is closed with 4408, and its replay was read no further."""
    settings.REALTIME_REPLAY_SECONDS = 0.2
    monkeypatch.setattr(history, "CHUNK_BYTES", 1)
    for number in range(20):
        await sync_to_async(store_message)("lobby", "bob", str(number), "hi")
    arrived = threading.Event()
    between = RoomHistory.between
    ranges: list[tuple[int, int]] = []

    def wait_for_the_client(self: RoomHistory, after: int, until: int) -> Any:
        arrived.wait(5)
        ranges.append((after, until))
        return between(self, after, until)

    monkeypatch.setattr(RoomHistory, "between", wait_for_the_client)
    ann = await visit(LOBBY, query="after=0")
    monkeypatch.setattr(ann.communicator.output_queue, "_maxsize", 5)  # and nobody takes it
    (socket,) = get_process().connections
    arrived.set()
    assert isinstance(socket, connection.Connection)
    assert socket.work is not None
    await asyncio.wait({socket.work}, timeout=5)
    assert await ann.close_code() == 4408
    await ann.communicator.wait(5)
    assert 2 < len(ranges) < 10
