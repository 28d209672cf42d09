"""Chat on the real server, with clients at real sockets."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from chat.models import Message
from chat.tests.conftest import Serve
from tests.people import handshake_headers


async def receive(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next event of a type."""
    event: dict[str, Any] = {}
    while event.get("type") != kind:
        event = json.loads(await asyncio.wait_for(socket.recv(), 5))
    return event


async def test_server_delivers_messages_and_drains(serve: Serve) -> None:
    """Both clients receive a message. SIGTERM closes them with 4012, and the message is stored."""
    address, server = await sync_to_async(serve)()
    async with AsyncExitStack() as stack:
        sockets = []
        for name in ("ann", "bob"):
            headers = await sync_to_async(handshake_headers)(name)
            fields = [(key.decode(), value.decode()) for key, value in headers]
            opening = connect(f"ws://{address}/ws/chat/lobby/", additional_headers=fields)
            sockets.append(await stack.enter_async_context(opening))
            assert (await receive(sockets[-1], "welcome"))["user"] == name
        await sockets[0].send('{"type":"send","ref":"a1","text":"hi"}')
        events = [await receive(socket, "message") for socket in sockets]
        server.terminate()
        for socket in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                await receive(socket, "nothing")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4012
    await asyncio.to_thread(server.wait, 10)
    stored = await Message.objects.aget()
    assert events == [stored.event()] * 2
