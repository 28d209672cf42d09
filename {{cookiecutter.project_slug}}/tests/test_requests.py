"""Limits on what one request and one socket may cost."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings
from websockets.exceptions import ConnectionClosed

from realtime.bodies import BodyLimit
from realtime.types import Message, Receive, Scope, Send
from tests.conftest import Serve
from tests.test_live import OpenSocket, close_code, open_socket, receive

__all__ = ["open_socket"]  # a fixture


@pytest.fixture(autouse=True)
def limits(settings: Settings) -> None:
    settings.SERVER_MAX_BODY_BYTES = 10
    settings.SERVER_BODY_SECONDS = settings.SERVER_IDLE_SECONDS = 0.1


async def read_body(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with the body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})
    assert (await receive())["type"] == "http.disconnect"


async def post(pieces: Iterable[bytes], announced: int | None = None) -> tuple[int, bytes]:
    """Return status and body of the answer to a body in pieces, after which nothing arrives."""
    sent: list[Message] = []
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]

    async def receive() -> Message:
        if not messages:
            await asyncio.sleep(10)
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    if messages and announced is None:
        messages[-1]["more_body"] = False
        messages.append({"type": "http.disconnect"})
    fields = [] if announced is None else [(b"content-length", str(announced).encode())]
    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "headers": fields}
    await BodyLimit(read_body)(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def test_bodies_within_the_limit_arrive() -> None:
    """The application reads a body in one piece or in several."""
    assert await post([b"0123456789"]) == (200, b"0123456789")
    assert await post([b"01234", b"56789"]) == (200, b"0123456789")


async def test_bodies_above_the_limit_are_refused() -> None:
    """An announced body is refused before it is sent."""
    assert await post([], announced=11) == (413, b"")
    assert await post([b"01234", b"56789", b"0"]) == (413, b"")


async def test_bodies_that_do_not_come_are_refused() -> None:
    """A client has a bounded time for its body."""
    assert await post([b"01234"], announced=10) == (408, b"")


@pytest.mark.parametrize("upgrade", ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"])
async def test_heads_above_the_limit_are_refused(serve: Serve, upgrade: str) -> None:
    """The answer is 431 before the head of a page or a handshake is complete."""
    address, _ = await sync_to_async(serve)()
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(f"GET / HTTP/1.1\r\n{upgrade}Cookie: {'x' * 40_000}".encode())
    status = await asyncio.wait_for(reader.readline(), 5)
    assert status.startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_frames_that_are_no_messages_count(open_socket: OpenSocket, serve: Serve) -> None:
    """Pings and fragments above the rate close the socket with 4429."""
    address, _ = await sync_to_async(serve)()
    for name in ("pings", "fragments"):
        socket = await open_socket(f"ws://{address}/ws/chat/lobby/", name, ping_interval=None)
        assert (await receive(socket))["type"] == "welcome"
        with suppress(ConnectionClosed):
            if name == "fragments":
                await socket.send(["x"] * 400)
            for _ in range(400):
                await socket.ping()
        assert await close_code(socket) == 4429


async def test_messages_in_fragments_arrive(open_socket: OpenSocket, serve: Serve) -> None:
    """A few fragments are no flood."""
    address, _ = await sync_to_async(serve)()
    socket = await open_socket(f"ws://{address}/ws/chat/lobby/", "ann")
    await receive(socket)
    await socket.send(['{"type":"send","ref":"a1",', '"text":"h', 'i"}'])
    assert (await receive(socket))["text"] == "hi"
