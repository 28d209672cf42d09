"""Streams of HTTP/2 over TLS."""

import asyncio
import ssl

import pytest
import trustme
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.utils import wrap_app
from wsproto.connection import Connection as WebSocket
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, Message, Ping, TextMessage

from realtime.servers import hypercorn

pytestmark = pytest.mark.start

PATIENCE = 10


async def application(scope, receive, send):
    """Answer a request with its path, and echo what a WebSocket sends."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["raw_path"]})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "close":
            await send({"type": "websocket.close", "code": 4400})
        else:
            await send({"type": "websocket.send", "text": message["text"]})


class Client:
    """A client with one connection, and the events of its streams."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.http = H2Connection()
        self.http.initiate_connection()
        self.events = []
        self.sockets = {}

    def of(self, kind, stream=None):
        """Return the events of a kind, of one stream or of any."""
        found = [event for event in self.events if isinstance(event, kind)]
        return [event for event in found if stream is None or event.stream_id == stream]

    async def wait_for(self, condition):
        async with asyncio.timeout(PATIENCE):
            self.writer.write(self.http.data_to_send())
            while not condition():
                self.events += self.http.receive_data(await self.reader.read(65536))
                self.writer.write(self.http.data_to_send())

    def start(self, method, path, *fields, ended=True):
        stream = self.http.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "test"), (":path", path)]
        self.http.send_headers(stream, [*head, *fields], end_stream=ended)
        return stream

    async def get(self, path):
        stream = self.start("GET", path)
        await self.wait_for(lambda: self.of(StreamEnded, stream))
        return b"".join(event.data for event in self.of(DataReceived, stream))

    async def open(self):
        fields = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
        await self.wait_for(lambda: self.events)
        stream = self.start("CONNECT", "/", *fields, ended=False)
        await self.wait_for(lambda: self.of(ResponseReceived, stream))
        self.sockets[stream] = WebSocket(ConnectionType.CLIENT)
        return stream

    def send(self, stream, *events):
        for event in events:
            self.http.send_data(stream, self.sockets[stream].send(event))

    async def received(self, stream):
        """Return the next event of a WebSocket."""
        socket = self.sockets[stream]
        while True:
            for event in socket.events():
                return event
            await self.wait_for(lambda: self.of(DataReceived, stream))
            data = self.of(DataReceived, stream)[0]
            self.events.remove(data)
            socket.receive_data(data.data)


def contexts():
    """Return TLS contexts of a server and of a client that trusts it. Both offer HTTP/2."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    for context in (server, client):
        context.set_alpn_protocols(["h2"])
    return server, client


@pytest.fixture
async def client():
    """Return a client that is connected to hypercorn."""
    hypercorn.install()
    config, loop = Config(), asyncio.get_running_loop()
    config.websocket_max_message_size = 1000
    config.websocket_ping_interval = 20
    ended = asyncio.Event()

    async def serve(reader, writer):
        app, context = wrap_app(application, 0, "asgi"), WorkerContext(None)
        await hypercorn.Connection(app, loop, config, context, {}, reader, writer).run()
        ended.set()

    for_server, for_client = contexts()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=for_server)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address, ssl=for_client)
    yield Client(reader, writer)
    writer.close()
    server.close()
    await asyncio.wait_for(ended.wait(), PATIENCE)


def text(data):
    return TextMessage(data=data)


async def test_requests_and_sockets_share_a_connection(client):
    """A request or a socket continues after another stream of the connection ended."""
    assert await client.get("/page") == b"/page"
    one, other = await client.open(), await client.open()
    client.send(one, text("hi"))
    assert (await client.received(one)).data == "hi"
    client.send(one, text("late"), CloseConnection(code=1000))
    while isinstance(event := await client.received(one), Message):
        assert event.data == "late"
    assert event.code == 1000
    client.http.end_stream(one)
    client.send(other, text("there"))
    assert (await client.received(other)).data == "there"
    assert await client.get("/page") == b"/page"


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([text("close")], 4400),
        ([text("x" * 1001)], 1009),
        ([TextMessage(data="", message_finished=False)] * 300, 4429),
        ([Ping()] * 300, 4429),
    ],
)
async def test_data_after_a_close_is_discarded(client, events, code):
    """Data after a close ends the stream, and the connection continues."""
    ending, other = await client.open(), await client.open()
    client.send(ending, *events)
    event = await client.received(ending)
    while not isinstance(event, CloseConnection):
        event = await client.received(ending)
    assert event.code == code
    await client.wait_for(lambda: client.of(StreamEnded, ending))
    client.http.send_data(ending, b"more")
    client.send(other, text("hi"))
    assert (await client.received(other)).data == "hi"
    assert client.of(StreamReset, ending)[0].error_code == ErrorCodes.NO_ERROR


async def test_stream_may_end_without_a_close(client):
    """The end of a stream is handled like the end of a TCP connection (RFC 8441, section 5)."""
    ended, reset = await client.open(), await client.open()
    client.http.end_stream(ended)
    client.http.reset_stream(reset)
    await client.wait_for(lambda: client.of(StreamReset, ended) or client.of(StreamEnded, ended))
    assert await client.get("/page") == b"/page"


@pytest.mark.parametrize(("method", "path", "protocol"), [("CONNECT", "/", "tcp"), ("GET", "/é", None)])
async def test_unknown_request_is_reset(client, method, path, protocol):
    """A stream with another protocol than WebSocket, or with non-ASCII characters, is reset."""
    await client.wait_for(lambda: client.events)
    stream = client.start(method, path, *([(":protocol", protocol)] if protocol else []))
    await client.wait_for(lambda: client.of(StreamReset, stream))
    assert await client.get("/page") == b"/page"


async def test_control_frames_are_counted(client):
    """A flood of control frames ends the connection."""
    for _ in range(300):
        client.http.ping(b"12345678")
    await client.wait_for(lambda: client.of(ConnectionTerminated))
    assert client.of(ConnectionTerminated)[0].error_code == ErrorCodes.ENHANCE_YOUR_CALM
