"""The project's server as a process, and clients at real sockets."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chat.models import Message
from tests.conftest import Serve
from tests.people import handshake_headers

type OpenSocket = Callable[..., Awaitable[ClientConnection]]


@pytest.fixture
async def open_socket() -> AsyncIterator[OpenSocket]:
    """A function that connects as the user of a name; all sockets are closed at the end.

    Tests ask for it before `serve`: so the server has to stop while they are open.
    """
    async with AsyncExitStack() as stack:

        async def open_socket(url: str, name: str, **options: Any) -> ClientConnection:
            headers = await sync_to_async(handshake_headers)(name)
            fields = [(key.decode(), value.decode()) for key, value in headers]
            return await stack.enter_async_context(
                connect(url, additional_headers=fields, **options)
            )

        yield open_socket


async def receive(socket: ClientConnection) -> dict[str, Any]:
    """The next event, but for those that tell who is there."""
    event: dict[str, Any] = {"type": "presence"}
    while event["type"] == "presence":
        event = json.loads(await asyncio.wait_for(socket.recv(), 5))
    return event


async def close_code(socket: ClientConnection) -> int:
    """The code of the close that follows, whatever comes before it."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await receive(socket)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_two_clients_talk_and_the_server_keeps_the_rules(
    open_socket: OpenSocket, serve: Serve
) -> None:
    """One conversation: a message for both, refusals, and what each close code is for."""
    address, _ = await sync_to_async(serve)("config.server")
    lobby = f"ws://{address}/ws/chat/lobby/"
    ann, bob = await open_socket(lobby, "ann"), await open_socket(lobby, "bob")
    welcome = await receive(ann)
    assert welcome.pop("user_id")
    assert welcome == {"type": "welcome", "room": "lobby", "user": "ann", "seq": 0}
    welcome = await receive(bob)
    assert welcome.pop("user_id")
    assert welcome == {"type": "welcome", "room": "lobby", "user": "bob", "seq": 0}

    await ann.send('{"type":"send","ref":"a1","text":"hi"}')
    heard = await receive(bob)
    assert heard == await receive(ann)
    assert (heard["seq"], heard["user"], heard["text"]) == (1, "ann", "hi")

    await ann.send(b"{}")
    assert (await receive(ann))["code"] == "binary"
    await ann.send("x" * 65 * 1024)
    assert (await receive(ann))["code"] == "too_long"
    with pytest.raises(ConnectionClosed):
        await ann.send("x" * 1200 * 1024)
        await receive(ann)

    with pytest.raises(InvalidStatus) as refused:
        await open_socket(lobby, "ann", origin="http://evil.example")
    assert refused.value.response.status_code == 403

    unknown = await open_socket(f"ws://{address}/ws/nothing/", "ann")
    assert await close_code(unknown) == 4404

    for _ in range(10):
        await bob.send("{")
        await receive(bob)
    assert await close_code(bob) == 4400


async def test_the_server_lets_its_clients_go(open_socket: OpenSocket, serve: Serve) -> None:
    """At SIGTERM each is told 4012, and what was acknowledged is stored."""
    address, server = await sync_to_async(serve)("config.server")
    lobby = f"ws://{address}/ws/chat/lobby/"
    sockets = [await open_socket(lobby, name) for name in ("ann", "bob", "cem")]
    for socket in sockets:
        await receive(socket)
    await sockets[0].send('{"type":"send","ref":"a1","text":"hi"}')
    assert (await receive(sockets[0]))["ref"] == "a1"
    server.terminate()
    assert [await close_code(socket) for socket in sockets] == [4012] * 3
    await asyncio.to_thread(server.wait, 10)
    assert await Message.objects.acount() == 1


async def test_connections_do_not_wait_for_each_other(
    open_socket: OpenSocket, serve: Serve
) -> None:
    """Eight clients with a second of work each are served in less than two."""
    address, _ = await sync_to_async(serve)("tests.slow_server")
    sockets = [await open_socket(f"ws://{address}/ws/slow/", "ann") for _ in range(8)]
    start = time.monotonic()
    for socket in sockets:
        await socket.send('{"type":"work"}')
    for socket in sockets:
        assert await receive(socket) == {"type": "done"}
    assert time.monotonic() - start < 2
