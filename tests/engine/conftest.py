"""Fixtures of the suite: visitors in this process, and servers in processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from dotenv import dotenv_values
from websockets.asyncio.client import connect

from engine.people import cookie_header
from engine.visitor import Visitor
from realtime.conf import settings as django_settings
from realtime.layers import channel_layers
from realtime.process import get_process, processes

SUITE = {"DJANGO_SETTINGS_MODULE": "engine.settings"}
SERVICES = {
    "redis": bool(django_settings.REDIS_HOSTS),
    "sqlite": connection.vendor == "sqlite",
    "postgresql": connection.vendor == "postgresql",
    "http2": os.environ["SERVER"] == "hypercorn",
}
# A service is tested in the runs that use it.
collect_ignore_glob = [f"test_{name}*" for name, used in SERVICES.items() if not used]


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
def serve(database, tmp_path):
    """Return a function that starts the server on the test's database. It returns the address and the process.

    The log of a process is the file `log`.
    """
    servers = []

    def serve(**variables):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        environ = {**os.environ, "PORT": str(port), "DATABASE_URL": url_of_test_database(), **SUITE, **variables}
        command = [sys.executable, "manage.py", "serve", "--exit-with-parent"]
        log = tmp_path / f"{port}.log"
        with log.open("wb") as file:
            server = subprocess.Popen(command, env=environ, stdout=file, stderr=file)
        server.log = log
        servers.append(server)
        deadline = time.monotonic() + 20
        while True:
            assert server.poll() is None, "the server ended before it accepted connections"
            assert time.monotonic() < deadline, "the server accepts no connections"
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return f"127.0.0.1:{port}", server
            except ConnectionRefusedError:
                time.sleep(0.05)

    async def serve_from_async(**variables):
        return await sync_to_async(serve)(**variables)

    yield serve_from_async
    for server in servers:
        server.send_signal(signal.SIGTERM)
        server.wait(10)
        print(server.log.read_text())


def url_of_test_database():
    """Return the URL of the database that the tests use."""
    parts = urlsplit({**dotenv_values(".env"), **os.environ}["DATABASE_URL"])
    return f"{parts.scheme}://{parts.netloc}/{connection.settings_dict['NAME']}?{parts.query}"
