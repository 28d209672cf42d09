"""The server as a process, and clients at real sockets."""

import asyncio
import json
import re
import socket
import time
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from engine.models import Entry

PATH = "/ws/journal/a/"
HANDSHAKE = (
    "GET /ws/nothing/ HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def receive(socket):
    """Return the next event that is not about presence."""
    event = {"type": "presence"}
    while event["type"] == "presence":
        event = json.loads(await asyncio.wait_for(socket.recv(), 5))
    return event


async def close_code(socket):
    """Return the code of the close that follows, whatever comes before it."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await receive(socket)
    return closed.value.rcvd.code


async def test_replay_arrives_once_and_in_order(open_socket, serve):
    """A client that reads gets a replay, long texts too, before what is live."""
    address, _ = await serve()
    ann = await open_socket(f"ws://{address}{PATH}")
    texts = ["a", "b" * 200, "c" * 30_000, "d" * 60_000]
    for number, text in enumerate(texts):
        await ann.send(json.dumps({"type": "append", "ref": str(number), "text": text}))
    for name in ("bob", "cem"):
        while (event := await receive(ann)).get("seq") != len(texts) or event["type"] == "welcome":
            pass
        bob = await open_socket(f"ws://{address}{PATH}?after=0", name)
        assert (await receive(bob))["seq"] == len(texts)
        await ann.send(json.dumps({"type": "append", "ref": name, "text": name}))
        texts.append(name)
        assert [(await receive(bob))["text"] for _ in texts] == texts


async def test_client_that_stalls_gets_the_rest(open_socket, serve):
    """Events wait for a client that reads nothing, as long as they fit. They arrive once and in order."""
    address, _ = await serve()
    host, port = address.split(":")
    narrow = socket.socket()  # with which the server's kernel does not hold all events
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    narrow.connect((host, int(port)))
    narrow.setblocking(False)
    ann = await open_socket(f"ws://{address}{PATH}", sock=narrow, max_queue=1)
    bob = await open_socket(f"ws://{address}{PATH}", "bob")
    assert [(await receive(client))["type"] for client in (ann, bob)] == ["welcome"] * 2
    ann.transport.pause_reading()
    texts = [str(number) * 60_000 for number in range(10)] + ["x" * 60_000] * 5
    for number, text in enumerate(texts):
        await bob.send(json.dumps({"type": "append", "ref": str(number), "text": text}))
        assert (await receive(bob))["seq"] == number + 1
    ann.transport.resume_reading()
    assert [(await receive(ann))["text"] for _ in texts] == texts


async def test_server_delivers_events_and_enforces_limits(open_socket, serve):
    """Both clients receive an event, and a violation of the protocol gets its error or close code."""
    address, _ = await serve()
    url = f"ws://{address}{PATH}"
    ann, bob = await open_socket(url), await open_socket(url, "bob")
    assert [(await receive(socket))["type"] for socket in (ann, bob)] == ["welcome"] * 2

    await ann.send('{"type":"append","ref":"a1","text":"hi"}')
    event = await receive(bob)
    assert event == await receive(ann)
    assert (event["seq"], event["text"]) == (1, "hi")

    await ann.send(b"{}")
    assert (await receive(ann))["code"] == "binary"
    await ann.send("x" * 65 * 1024)
    assert (await receive(ann))["code"] == "too_long"
    with pytest.raises(ConnectionClosed):
        await ann.send("x" * 1200 * 1024)
        await receive(ann)

    with pytest.raises(InvalidStatus) as refused:
        await open_socket(url, origin="http://evil.example")
    assert refused.value.response.status_code == 403

    unknown = await open_socket(f"ws://{address}/ws/nothing/")
    assert await close_code(unknown) == 4404

    for _ in range(10):
        await bob.send("{")
        await receive(bob)
    assert await close_code(bob) == 4400


async def test_server_drains_on_sigterm(open_socket, serve):
    """SIGTERM closes each client with 4012, and what was acknowledged is stored."""
    address, server = await serve()
    sockets = [await open_socket(f"ws://{address}{PATH}", name) for name in ("ann", "bob", "cem")]
    for client in sockets:
        await receive(client)
    await sockets[0].send('{"type":"append","ref":"a1","text":"hi"}')
    assert (await receive(sockets[0]))["ref"] == "a1"
    server.terminate()
    assert [await close_code(socket) for socket in sockets] == [4012] * 3
    await asyncio.to_thread(server.wait, 10)
    assert await Entry.objects.acount() == 1


async def test_stop_ignores_a_client_that_reads_nothing(open_socket, serve):
    """SIGTERM ends the server in bounded time, and without an error in its log."""
    address, server = await serve()
    client = await open_socket(f"ws://{address}/ws/stream/", close_timeout=1)
    client.transport.pause_reading()
    await client.send('{"type":"start"}')
    await asyncio.sleep(1)
    server.terminate()
    assert await asyncio.to_thread(server.wait, 15) == 0
    assert not re.search("ERROR|Traceback", server.log.read_text())


async def test_connections_do_not_wait_for_each_other(open_socket, serve):
    """Eight clients with a second of work each are served in less than two seconds."""
    address, _ = await serve()
    sockets = [await open_socket(f"ws://{address}/ws/slow/") for _ in range(8)]
    start = time.monotonic()
    for client in sockets:
        await client.send('{"type":"work"}')
    for client in sockets:
        assert await receive(client) == {"type": "done"}
    assert time.monotonic() - start < 2


async def test_slow_client_reads_the_code(serve):
    """A connection that the server closes is not reset at once, so that a distant client gets the code."""
    address, _ = await serve()
    host, port = address.split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port)), 0.1) as client:
            client.sendall(HANDSHAKE.format(address=address).encode())
            await asyncio.sleep(0.7)
            assert client.recv(4096).endswith(b"\x88\x02" + (4401).to_bytes(2))
            with suppress(TimeoutError):
                assert client.recv(4096) == b""


async def test_application_may_take_long_to_accept(open_socket, serve):
    """A handshake is answered after six seconds, as under load: the server does not drop it before."""
    address, _ = await serve()
    socket = await open_socket(f"ws://{address}/ws/slow/?6")
    await socket.send('{"type":"ping"}')
    assert await receive(socket) == {"type": "pong"}


async def test_frames_wait_for_a_slow_consumer(open_socket, serve):
    """A server that stops reading reads on, so that each frame is handled."""
    address, _ = await serve()
    socket = await open_socket(f"ws://{address}/ws/slow/")
    for _ in range(40):
        await socket.send('{"type":"work","seconds":0.03}')
    assert [await receive(socket) for _ in range(40)] == [{"type": "done"}] * 40


@pytest.mark.parametrize("upgrade", ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"])
async def test_long_head_is_refused(serve, upgrade):
    """A head above the limit is refused with 431 before it is complete."""
    address, _ = await serve()
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(f"GET / HTTP/1.1\r\n{upgrade}Cookie: {'x' * 40_000}".encode())
    status = await asyncio.wait_for(reader.readline(), 5)
    assert status.startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_frames_below_messages_are_limited(open_socket, serve):
    """Pings and fragments above the rate close the socket with 4429."""
    address, _ = await serve()
    for name in ("pings", "fragments"):
        socket = await open_socket(f"ws://{address}{PATH}", name, ping_interval=None)
        assert (await receive(socket))["type"] == "welcome"
        with suppress(ConnectionClosed):
            if name == "fragments":
                await socket.send(["x"] * 400)
            for _ in range(400):
                await socket.ping()
        assert await close_code(socket) == 4429


async def test_fragmented_message_arrives(open_socket, serve):
    """A message in a few fragments is handled as one."""
    address, _ = await serve()
    socket = await open_socket(f"ws://{address}{PATH}")
    await receive(socket)
    await socket.send(['{"type":"append","ref":"a1",', '"text":"h', 'i"}'])
    assert (await receive(socket))["text"] == "hi"
