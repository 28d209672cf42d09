"""Fixtures of all tests: sockets of visitors in this process, and a server in one of its own."""

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

from config.asgi import application
from config.settings import BASE_DIR
from realtime.process import get_process, processes
from realtime.testing import Event, SocketClient
from tests.people import handshake_headers

type Visit = Callable[..., Awaitable[SocketClient]]
type Serve = Callable[[], tuple[str, subprocess.Popen[bytes]]]


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the in-memory layer here, and a prefix of its own in the Redis of started servers.

    Other layers bind to one test's event loop. Passwords are hashed fast.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.REDIS_PREFIX = f"test-{uuid4().hex}"
    monkeypatch.setenv("REDIS_PREFIX", settings.REDIS_PREFIX)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
async def database(transactional_db: None) -> AsyncIterator[None]:
    """Open the database for async tests, whose queries run in threads with connections."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def visit(database: None) -> AsyncIterator[Visit]:
    """Return a function that opens a socket of the site as a user. All are closed at the end."""
    clients: list[SocketClient] = []

    async def visit(url: str, name: str | None = "ann", **options: Any) -> SocketClient:
        headers = await sync_to_async(handshake_headers)(name) if name else []
        headers += options.pop("headers", [])
        client = await SocketClient.connect(application, url, headers=headers, **options)
        clients.append(client)
        return client

    yield visit
    try:
        for client in clients:
            await client.disconnect()
    finally:
        await get_process().drain()
        processes.clear()


@pytest.fixture
def serve(database: None) -> Iterator[Serve]:
    """Return a function that starts the server on the test's database: its address, and it."""
    servers: list[subprocess.Popen[bytes]] = []

    def serve() -> tuple[str, subprocess.Popen[bytes]]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        variables = {"PORT": str(port), "DATABASE_URL": url_of_test_database()}
        command = [sys.executable, "manage.py", "serve", "--exit-with-parent"]
        server = subprocess.Popen(command, env=os.environ | variables, cwd=BASE_DIR)
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

    yield serve
    for server in servers:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


async def wait_for_users(client: SocketClient, *names: str) -> Event:
    """Receive presence events until exactly these users are present. Return the last event."""
    while True:
        (*_, event) = await client.receive_until("presence")
        if [user["user"] for user in event["users"]] == sorted(names):
            return event


def url_of_test_database() -> str:
    """Return the URL of the database that the tests use."""
    url = {**dotenv_values(BASE_DIR / ".env"), **os.environ}["DATABASE_URL"] or ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{connection.settings_dict['NAME']}?{parts.query}"
