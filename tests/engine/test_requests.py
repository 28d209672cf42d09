"""Limits on requests and frames, on a real server with short times."""

import asyncio
import json
import re
import ssl
from contextlib import suppress

import trustme
from websockets.frames import Frame, Opcode

from engine.test_live import close_code
from engine.test_streams import census

HASTY = {"DJANGO_SETTINGS_MODULE": "engine.hasty_settings"}
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
CHUNK = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"

# Requests with the statuses of the answers. The server closes after the last one.
REQUESTS = {
    "nothing": (b"", []),
    "empty lines": (b"\r\n\r\n", []),
    "one": (HEAD + b"\r\n", [200]),
    "two at once": ((HEAD + b"\r\n") * 2, [200, 200]),
    "after an empty line": (b"\r\n" + HEAD + b"\r\n", [200]),
    "half a head": (HEAD, [408]),
    "nonsense": (b"nonsense\r\n\r\n", [400]),
    "long line": (HEAD + b"Cookie: " + b"x" * 40_000 + b"\r\n\r\n", [431]),
    "many lines": (HEAD + b"Cookie: xxxxxxxx\r\n" * 4000 + b"\r\n", [431]),
    "long path": (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", [431]),
    "upgrade to HTTP/2": (HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", [200]),
    "large body": (POST + b"Content-Length: 70000\r\n\r\n", [413]),
    "large chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 3, [413]),
    "half a body": (POST + b"Content-Length: 9\r\n\r\nhalf", [408]),
    "handshake without a key": (HEAD + UPGRADE + b"\r\n", [400]),
    "handshake with a body": (HEAD + UPGRADE + b"Content-Length: 9\r\n\r\n", [400]),
}

# Frames with the close codes of the answers. None stands for a connection that ends without a code.
FRAMES = {
    "fragments": ([Frame(Opcode.TEXT, b"x", fin=False), *[Frame(Opcode.CONT, b"x", fin=False)] * 9], {1009}),
    "long message": ([Frame(Opcode.BINARY, bytes(200_000))], {1009, None}),
    "invalid text": ([Frame(Opcode.TEXT, b"\xff")], {1007}),
    "invalid fragment": ([Frame(Opcode.TEXT, b"x", fin=False), Frame(Opcode.CONT, b"\xff")], {1007}),
    "fragment of nothing": ([Frame(Opcode.CONT, b"x")], {1002}),
    "invalid close": ([Frame(Opcode.CLOSE, b"\0")], {1002}),
    "close within a message": ([Frame(Opcode.TEXT, b"x", fin=False), Frame(Opcode.CLOSE, b"\x03\xe8")], {1000}),
    "failing handler": ([Frame(Opcode.TEXT, b'{"type":"append"}')], {1011}),
}


async def statuses(address, data, **options):
    """Send data. Return the statuses of the answers, once the server has closed."""
    reader, writer = await asyncio.open_connection(*address.split(":"), **options)
    received = b""
    with suppress(ConnectionError):
        writer.write(data)
        async with asyncio.timeout(10):
            while piece := await reader.read(65536):
                received += piece
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", received)]


async def test_requests_end_in_bounded_time(serve):
    """Each connection is answered and closed, whatever it sends or omits."""
    address, server = await serve(**HASTY)
    answers = await asyncio.gather(*(statuses(address, data) for data, _ in REQUESTS.values()))
    assert dict(zip(REQUESTS, answers, strict=True)) == {name: expected for name, (_, expected) in REQUESTS.items()}
    assert "Traceback" not in server.log.read_text()


async def test_invalid_frames_close(open_socket, serve):
    """A violation of the protocol closes with its code."""
    address, _ = await serve(**HASTY)
    ends = {}
    for name, (frames, _) in FRAMES.items():
        socket = await open_socket(f"ws://{address}/ws/journal/{len(ends)}/", close_timeout=1)
        assert '"welcome"' in await socket.recv()
        socket.transport.write(b"".join(frame.serialize(mask=True) for frame in frames))
        ends[name] = await close_code(socket)
    assert {name: code for name, code in ends.items() if code not in FRAMES[name][1]} == {}


async def test_client_without_pongs_is_dropped(open_socket, serve):
    """A client that answers no ping is disconnected."""
    address, _ = await serve(**HASTY)
    counter = await open_socket(f"ws://{address}/ws/census/", "bob")
    silent = await open_socket(f"ws://{address}/ws/journal/a/", close_timeout=1)
    assert (await census(counter))["connections"] == 2
    silent.transport.pause_reading()
    async with asyncio.timeout(10):
        while (await census(counter))["connections"] > 1:
            await asyncio.sleep(0.1)


async def test_https_is_served(open_socket, serve, tmp_path):
    """Pages and sockets are served over TLS, with the same limits."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    files = {"TLS_CERTFILE": tmp_path / "chain.pem", "TLS_KEYFILE": tmp_path / "key.pem"}
    certificate.private_key_pem.write_to_path(files["TLS_KEYFILE"])
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(files["TLS_CERTFILE"], append=True)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    address, _ = await serve(**HASTY, **{name: str(path) for name, path in files.items()})
    requests = [REQUESTS[name] for name in ("one", "half a head", "long line", "large body")]
    answers = await asyncio.gather(*(statuses(address, data, ssl=trust) for data, _ in requests))
    assert answers == [expected for _, expected in requests]
    socket = await open_socket(f"wss://{address}/ws/journal/a/", ssl=trust)
    assert json.loads(await socket.recv())["type"] == "welcome"
