"""Fixtures of the suite: visitors in this process, and servers in processes of their own."""

import os
import threading
from contextlib import AsyncExitStack, ExitStack
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from websockets.asyncio.client import connect

from engine.models import append
from engine.people import cookie_header
from engine.routing import consumers
from engine.visitor import Visitor
from realtime.conf import settings as django_settings
from realtime.layers import channel_layers
from realtime.process import get_process, processes
from realtime.testing import running_server

SUITE = {"DJANGO_SETTINGS_MODULE": "engine.settings"}
SERVICES = {
    "redis": bool(django_settings.REDIS_HOSTS),
    "sqlite": connection.vendor == "sqlite",
    "postgresql": connection.vendor == "postgresql",
    "http2": os.environ["SERVER"] == "hypercorn",  # the others speak HTTP/1.1 only
}
# A service is tested in the runs that use it.
collect_ignore_glob = [f"test_{name}*" for name, used in SERVICES.items() if not used]


def pytest_itemcollected(item):
    """Mark the tests that start the server."""
    if "serve" in item.fixturenames:
        item.add_marker("server")


@pytest.fixture(autouse=True)
def channel_layer(settings):
    """Use no Redis in this process. Its connections bind to one test's event loop."""
    settings.REDIS_HOSTS = []
    settings.CHANNEL_LAYERS = channel_layers([], "")


@pytest.fixture(autouse=True)
def redis_prefix(settings, monkeypatch):
    """Give each test, and the servers that it starts, a prefix of its own in Redis."""
    settings.REDIS_PREFIX = f"test-{uuid4().hex}"
    monkeypatch.setenv("REDIS_PREFIX", settings.REDIS_PREFIX)


@pytest.fixture(autouse=True)
def password_hashers(settings):
    """Hash passwords fast."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
async def database(transactional_db):
    """Open the database for async tests. Their queries run in a thread with a connection of its own."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def visit(database):
    """Return a function that opens a socket of the ASGI application. All are closed at the end."""
    visitors = []

    async def visit(path, name="ann", **options):
        visitor = await Visitor.arrive(path, name, **options)
        visitors.append(visitor)
        return visitor

    yield visit
    try:
        for visitor in visitors:
            await visitor.disconnect()
    finally:
        await get_process().drain()
        processes.clear()


@pytest.fixture
def slow_store(monkeypatch):
    """Hold back what consumers store. Return an event that is set when one stores, and one that releases it."""
    storing, released = threading.Event(), threading.Event()

    def append_slowly(*arguments):
        storing.set()
        released.wait(5)
        return append(*arguments)

    monkeypatch.setattr(consumers, "append", append_slowly)
    return storing, released


@pytest.fixture
async def open_socket():
    """Return a function that connects to a real server as a user. All sockets are closed at the end.

    Request this fixture before `serve`, so that servers stop while the sockets are open.
    """
    async with AsyncExitStack() as stack:

        async def open_socket(url, name="ann", **options):
            headers = {"Cookie": await sync_to_async(cookie_header)(name)}
            return await stack.enter_async_context(connect(url, additional_headers=headers, **options))

        yield open_socket


@pytest.fixture
async def serve(database, tmp_path):
    """Return a function that starts the server on the test's database. It returns the address and the process.

    The log of a process is the file `log`.
    """
    servers = []
    with ExitStack() as stack:

        async def serve(**variables):
            log = tmp_path / f"{len(servers)}.log"
            running = running_server(log, **{**SUITE, **variables})
            address, server = await sync_to_async(stack.enter_context)(running)
            server.log = log
            servers.append(server)
            return address, server

        yield serve
    for server in servers:
        print(server.log.read_text())
