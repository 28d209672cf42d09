"""Handlers that send without an end, to clients that leave."""

import asyncio
import json
import socket
import struct
import time
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

PATHS = ["/ws/stream/", "/ws/stream/member/", "/ws/stream/plain/"]
PATIENCE = 15  # seconds, less than the interval of pings


async def census(connection):
    """Return the counts of the server's process."""
    await connection.send("{}")
    return json.loads(await asyncio.wait_for(connection.recv(), 5))


async def close(client):
    await client.close()


async def abort(client):
    """Reset the connection."""
    linger = struct.pack("ii", 1, 0)
    client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.transport.abort()


async def stall_and_abort(client):
    """Read nothing until the server waits, then reset the connection."""
    client.transport.pause_reading()
    await asyncio.sleep(1)
    await abort(client)


async def read_and_abort(client):
    """Read as fast as possible, then reset the connection. A sync handler does not wait: 4408 ends the reading."""
    with suppress(ConnectionClosed):
        for _ in range(3000):
            await client.recv()
    await abort(client)


@pytest.mark.parametrize("leave", [close, abort, stall_and_abort, read_and_abort])
async def test_stream_ends_with_its_client(leave, open_socket, serve):
    """A handler that only sends ends when its client leaves, and keeps no socket, task or thread."""
    address, _ = await serve()
    counter = await open_socket(f"ws://{address}/ws/census/", "bob")
    before = await census(counter)
    clients = [await open_socket(f"ws://{address}{path}", close_timeout=1) for path in PATHS]
    for client in clients:
        await client.send('{"type":"start"}')
        assert "more" in await asyncio.wait_for(client.recv(), 5)
    assert (await census(counter))["handlers"] == len(PATHS)
    await asyncio.gather(*map(leave, clients))
    deadline = time.monotonic() + PATIENCE
    after = await census(counter)
    while any(after[name] > before[name] for name in before):
        assert time.monotonic() < deadline, (before, after)
        await asyncio.sleep(0.1)
        after = await census(counter)
