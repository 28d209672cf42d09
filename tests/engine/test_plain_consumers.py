"""Consumers of Channels itself behind the engine's stack, which knows nothing of their protocol."""

import asyncio
import threading
import time

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from prometheus_client import REGISTRY

from engine.people import client_of, cookies_of, user_of
from realtime import connection, logs
from realtime.asgi import RealtimeMiddlewareStack
from realtime.broadcast import disconnect_user
from realtime.process import get_process
from realtime.testing import SocketClient

codes = []  # with which disconnect() was called
facts = []  # of the log records of a connection
working, released = threading.Event(), threading.Event()


class AsyncEcho(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        facts.append(logs.facts.get())
        if text_data == "fail":
            raise ValueError(text_data)
        if text_data == "hang":
            await asyncio.Event().wait()
        while text_data == "stream":
            await self.send(text_data="more")
            await asyncio.sleep(0.001)
        if text_data == "work":
            working.set()
            await asyncio.to_thread(released.wait, 5)
        await self.send(text_data=text_data)

    async def disconnect(self, code):
        codes.append(code)


class SyncEcho(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        facts.append(logs.facts.get())
        if text_data == "fail":
            raise ValueError(text_data)
        if text_data == "hang":
            released.wait(60)
            return  # a send could wait forever: the event loop of the test may have closed
        while text_data == "stream":
            self.send(text_data="more")
            time.sleep(0.001)
        if text_data == "work":
            working.set()
            released.wait(5)
        self.send(text_data=text_data)

    def disconnect(self, code):
        codes.append(code)


# A stack keeps its threads, and they keep their database connections.
STACKS = [RealtimeMiddlewareStack(consumer.as_asgi()) for consumer in (AsyncEcho, SyncEcho)]


@pytest.fixture(autouse=True)
def forget():
    codes.clear()
    facts.clear()
    working.clear()
    released.clear()


@pytest.fixture(params=STACKS, ids=["async", "sync"])
async def connect(request, visit):
    """Return a function that opens a socket of the consumer as a user."""
    application = request.param
    clients = []

    async def connect(name="ann", **options):
        cookies = options.pop("cookies", None) or await sync_to_async(cookies_of)(name)
        client = await SocketClient.connect(application, cookies=cookies, **options)
        clients.append(client)
        return client

    yield connect
    released.set()
    for client in clients:
        await client.disconnect()


async def echo(client, text):
    """Return the text that comes back for this one."""
    await client.communicator.send_input({"type": "websocket.receive", "text": text})
    message = await client.communicator.receive_output(5)
    return message.get("text")


async def until(condition):
    """Wait until a condition holds."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_connections_of_a_user_are_limited(connect, settings):
    """A socket above the limit closes with 4409, until another one ends."""
    settings.REALTIME_MAX_CONNECTIONS = 1
    first = await connect()
    assert await (await connect()).close_code() == 4409
    assert await echo(await connect("bob"), "hi") == "hi"
    await first.disconnect()
    assert await echo(await connect(), "hi") == "hi"


async def test_flood_is_closed(connect, settings):
    """Every frame is delivered, until 4429 ends the flood."""
    settings.REALTIME_MAX_REFUSED = 20
    ann = await connect()
    for number in range(200):
        await ann.communicator.send_input({"type": "websocket.receive", "text": str(number)})
    texts = []
    while (message := await ann.communicator.receive_output(5))["type"] == "websocket.send":
        texts.append(message["text"])
    assert message == {"type": "websocket.close", "code": 4429}
    assert texts == [str(number) for number in range(len(texts))]
    assert 60 <= len(texts) < 80
    await until(lambda: codes == [4429])


async def test_logout_closes(connect):
    """A logout closes the sockets of its session with 4403, and disconnect() is called."""
    browser, phone = [await sync_to_async(client_of)("ann") for _ in range(2)]
    ann, other = await connect(cookies=browser.cookies), await connect(cookies=phone.cookies)
    assert await echo(ann, "hi") == "hi"
    await sync_to_async(browser.logout)()
    assert await ann.close_code() == 4403
    await until(lambda: codes == [4403])
    assert await echo(other, "hi") == "hi"


async def test_disconnect_user_closes(connect):
    """All sockets of the user close with 4403."""
    ann, bob = await connect(), await connect("bob")
    user = await sync_to_async(user_of)("ann")
    await sync_to_async(disconnect_user)(str(user.pk))
    assert await ann.close_code() == 4403
    assert await echo(bob, "hi") == "hi"


async def test_drain_finishes_the_last_frame(connect):
    """A drain closes with 4012 after the handler has answered, and disconnect() is called."""
    ann, bob = await connect(), await connect("bob")
    await ann.communicator.send_input({"type": "websocket.receive", "text": "work"})
    await until(working.is_set)
    draining = asyncio.create_task(get_process().drain())
    assert await bob.close_code() == 4012
    released.set()
    assert (await ann.communicator.receive_output(5))["text"] == "work"
    assert await ann.close_code() == 4012
    await draining
    await until(lambda: codes == [4012, 4012])


async def test_exception_closes(connect, caplog):
    """An exception closes with 1011, is logged, and leaves no connection behind."""
    ann = await connect()
    await ann.communicator.send_input({"type": "websocket.receive", "text": "fail"})
    assert await ann.close_code() == 1011
    assert "ValueError: fail" in caplog.text
    await until(lambda: not get_process().connections)


async def test_connection_is_counted_and_logged(connect):
    """Metrics count the socket and its frames, and log records name the user."""

    def value(name):
        return REGISTRY.get_sample_value(name) or 0

    sockets, frames = value("realtime_connections"), value("realtime_messages_received_total")
    ann = await connect()
    assert await echo(ann, "hi") == "hi"
    assert value("realtime_connections") - sockets == 1
    assert value("realtime_messages_received_total") - frames == 1
    assert facts[0]["user"] == "ann"
    assert facts[0]["connection"]
    await ann.disconnect()
    await until(lambda: value("realtime_connections") == sockets)


async def test_endless_handler_ends_with_its_connection(connect):
    """A handler that only sends ends at a sign-out."""
    ann, bob = await connect(), await connect("bob")
    await ann.communicator.send_input({"type": "websocket.receive", "text": "stream"})
    assert (await ann.communicator.receive_output(5))["text"] == "more"
    user = await sync_to_async(user_of)("ann")
    await sync_to_async(disconnect_user)(user.pk)
    assert await echo(bob, "hi") == "hi"
    await until(lambda: len(get_process().connections) == 1)


async def test_hanging_handler_is_cancelled(connect, monkeypatch):
    """A handler that never ends is cancelled after a sign-out."""
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    ann = await connect()
    await ann.communicator.send_input({"type": "websocket.receive", "text": "hang"})
    await until(lambda: facts)
    user = await sync_to_async(user_of)("ann")
    await sync_to_async(disconnect_user)(user.pk)
    assert await ann.close_code() == 4403
    await until(lambda: not get_process().connections)
