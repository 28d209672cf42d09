"""What the tests share: visitors of the chat in this process, and a server in one of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from dotenv import dotenv_values
from pytest_django import Settings

from config.settings import BASE_DIR
from realtime.process import get_process, processes
from tests.visitor import Visitor

type Visit = Callable[..., Awaitable[Visitor]]
type Serve = Callable[[str], tuple[str, subprocess.Popen[bytes]]]


@pytest.fixture(autouse=True)
def channel_layer(settings: Settings) -> None:
    """Tests in this process use the in-memory layer: other layers bind to one test's event loop."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture(autouse=True)
def redis_prefix(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test, and the servers that it starts, a prefix of its own in Redis."""
    settings.REDIS_PREFIX = f"test-{uuid4().hex}"
    monkeypatch.setenv("REDIS_PREFIX", settings.REDIS_PREFIX)


@pytest.fixture(autouse=True)
def password_hashers(settings: Settings) -> None:
    """What makes a password safe is that its hash takes long, which a test need not wait for."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
async def database(transactional_db: None) -> AsyncIterator[None]:
    """The database for async tests, whose queries run in a thread with a connection of its own."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def visit(database: None) -> AsyncIterator[Visit]:
    """A function that opens a socket of the ASGI application; all are closed at the end."""
    visitors: list[Visitor] = []

    async def visit(path: str, name: str | None = "ann", **options: Any) -> Visitor:
        visitor = await Visitor.arrive(path, name, **options)
        visitors.append(visitor)
        return visitor

    yield visit
    try:
        for visitor in visitors:
            await visitor.leave()
    finally:
        await get_process().drain()
        processes.clear()


@pytest.fixture
def serve(database: None) -> Iterator[Serve]:
    """A function that runs a module as a server on the test's database: its address, and it."""
    servers: list[subprocess.Popen[bytes]] = []

    def serve(module: str) -> tuple[str, subprocess.Popen[bytes]]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        database = url_of_test_database()
        environment = {**os.environ, "PORT": str(port), "DATABASE_URL": database}
        command = [sys.executable, "-m", module, "--exit-with-parent"]
        server = subprocess.Popen(command, env=environment)
        servers.append(server)
        deadline = time.monotonic() + 20
        while True:
            assert server.poll() is None, "the server ended before it listened"
            assert time.monotonic() < deadline, "the server does not listen"
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return f"127.0.0.1:{port}", server
            except ConnectionRefusedError:
                time.sleep(0.05)

    yield serve
    for server in servers:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def url_of_test_database() -> str:
    """The URL of the database that the tests use."""
    url = {**dotenv_values(BASE_DIR / ".env"), **os.environ}["DATABASE_URL"] or ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{connection.settings_dict['NAME']}?{parts.query}"
