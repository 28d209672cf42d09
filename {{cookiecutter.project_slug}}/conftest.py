"""Fixtures of all tests: sockets of visitors in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.urls import path
from pytest_django import Settings

from config.asgi import application
from config.routing import websocket_urlpatterns
from realtime.consumers import RealtimeConsumer
from realtime.process import get_process, processes
from realtime.testing import SocketClient
from tests.people import handshake_headers

type Visit = Callable[..., Awaitable[SocketClient]]


class LobbyConsumer(RealtimeConsumer):
    """Socket for tests of what all sockets have in common, whatever apps there are."""

    async def joined(self) -> None:
        await self.send_event({"type": "welcome", **self.identity})
        await self.join("lobby", presence=True)


websocket_urlpatterns.insert(0, path("ws/lobby/", LobbyConsumer.as_asgi()))  # type: ignore[arg-type]


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
