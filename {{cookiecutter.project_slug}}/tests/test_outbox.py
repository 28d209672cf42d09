"""What happens when a client does not read."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chat.history import RoomHistory
from chat.models import room_group, store_message
from realtime import lifecycle
from realtime.broadcast import apublish
from realtime.hub import get_hub
from realtime.outbox import Outbox
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
    outbox = Outbox(socket.send, lambda: None)
    outbox.put(text("1"))
    assert socket.sent == ["1"]
    socket.open.clear()
    outbox.put(text("2"))
    outbox.put(text("3"))
    sending = asyncio.create_task(outbox.send(text("4")))
    await asyncio.sleep(0)
    assert (socket.sent, sending.done()) == (["1"], False)
    socket.open.set()
    await sending
    assert socket.sent == ["1", "2", "3", "4"]


async def test_too_many_messages_close_the_client(settings: Settings) -> None:
    """With 4408, instead of what was under way and what waited: that comes by the replay."""
    settings.REALTIME_MAX_OUTBOX = 2
    gave_up: list[bool] = []
    socket = Socket()
    socket.open.clear()
    outbox = Outbox(socket.send, lambda: gave_up.append(True))
    outbox.accepted = True
    for number in range(5):
        outbox.put(text(str(number)))
    await asyncio.sleep(0)
    socket.open.set()
    await outbox.flush()
    assert (socket.sent, gave_up) == ([4408], [True])


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
        outbox = Outbox(send, lambda: None)
        await outbox.send({"type": last})
        outbox.put({"type": "late"})
    assert sent == ["websocket.close", "gone", "bad"]
    assert "The server did not take a message" in caplog.text


async def test_the_others_do_not_notice(
    visit: Visit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that does not read is closed and forgotten; the rest of the room hears all."""
    settings.REALTIME_MAX_OUTBOX = 10
    monkeypatch.setattr(lifecycle, "PATIENCE", 0.1)
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    assert await ann.sees("ann", "bob")
    monkeypatch.setattr(bob.communicator.output_queue, "_maxsize", 1)  # and nobody takes it
    for number in range(20):
        await apublish(GROUP, {"type": "news", "number": number})
    assert [(await ann.receive())["number"] for _ in range(20)] == list(range(20))
    await bob.communicator.wait(5)
    presence = get_hub().topics[GROUP].presence
    assert presence is not None
    assert presence.users() == {"ann"}


async def test_a_slow_newcomer_is_closed_too(
    visit: Visit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept back during the replay is bounded like the rest."""
    settings.REALTIME_MAX_OUTBOX = 3
    await sync_to_async(store_message)("lobby", "bob", "b1", "hi")
    replayed = threading.Event()
    monkeypatch.setattr(RoomHistory, "between", lambda *_: replayed.wait(5) and [])
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    for number in range(4):
        await apublish(GROUP, {"type": "news", "number": number})
    assert await ann.close_code() == 4408
    replayed.set()
