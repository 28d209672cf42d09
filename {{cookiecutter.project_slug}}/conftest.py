"""Fixtures of all tests: sockets of visitors in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.urls import path
from pytest_django import DjangoDbBlocker, Settings

from config.asgi import application
from config.routing import websocket_urlpatterns
from realtime.consumers import RealtimeConsumer
from realtime.testing import SocketClient, missing_services, open_sockets
from tests.people import handshake_headers

type Visit = Callable[..., Awaitable[SocketClient]]


class LobbyConsumer(RealtimeConsumer):
    """Socket for tests of what all sockets have in common, whatever apps there are."""

    async def joined(self) -> None:
        await self.send_event({"type": "welcome", **self.identity})
        await self.join("lobby", presence=True)


websocket_urlpatterns.insert(0, path("ws/lobby/", LobbyConsumer.as_asgi()))  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def services(django_db_blocker: DjangoDbBlocker) -> None:
    """End the run at once, with a line for each service that does not answer."""
    with django_db_blocker.unblock():
        if problems := missing_services():
            pytest.exit("\n".join(problems), returncode=1)


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the in-memory layer here, and a prefix of its own in the Redis of started servers.

    Other layers bind to one test's event loop.{{ " Passwords are hashed fast, and what `.env` may\n    close is open." if cookiecutter.auth != "none" }}
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.REDIS_PREFIX = f"test-{uuid4().hex}"
    monkeypatch.setenv("REDIS_PREFIX", settings.REDIS_PREFIX)
{% if cookiecutter.auth != "none" %}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    for name in ({{ '"CHAT_OPEN_ROOMS", "SIGNUP_OPEN"' if cookiecutter.examples != "none" else '"SIGNUP_OPEN",' }}):
        setattr(settings, name, True)
        monkeypatch.setenv(name, "true")
{% endif %}


@pytest.fixture
async def visit(transactional_db: None) -> AsyncIterator[Visit]:
    """Return a function that opens a socket of the site as a user. All are closed at the end."""
    async with open_sockets(application) as connect:

        async def visit(url: str, name: str | None = "ann", **options: Any) -> SocketClient:
            headers = await sync_to_async(handshake_headers)(name) if name else []
            return await connect(url, headers=headers + options.pop("headers", []), **options)

        yield visit
