"""Tools for tests of consumers: a WebSocket client without a server, and a server.

An import of this module also keeps Channels from closing the database connection of a test.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import channels.db
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import DEFAULT_DB_ALIAS, connections
from django.test import override_settings
from dotenv import dotenv_values

from realtime.checks import channel_layer_answers
from realtime.conf import settings
from realtime.process import get_process, processes
from realtime.startup import database_problem
from realtime.threads import close_connections
from realtime.types import Application, Message

TIMEOUT = float(os.environ.get("TEST_TIMEOUT") or "5")  # seconds to wait for a message
START_SECONDS = 20  # fail if a server does not answer after this long
STOP_SECONDS = 10  # fail if a server has not ended this long after SIGTERM

type Event = dict[str, Any]
type Server = subprocess.Popen[bytes]


def close_old_connections(**_: Any) -> None:
    """Close database connections that are too old, but none in the transaction of a test."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


# Channels calls it around each query.
channels.db.close_old_connections = close_old_connections  # type: ignore[attr-defined]


class SocketClient:
    """Client of an ASGI application, which may be a consumer or the whole stack of `asgi.py`.

    Unlike `channels.testing` this needs no daphne. It works in each of Django's test cases.
    """

    def __init__(self, communicator: ApplicationCommunicator, answer: Message) -> None:
        self.communicator = communicator
        self.answer = answer  # the message that accepts or refuses the handshake

    @classmethod
    async def connect(
        cls,
        application: Application,
        url: str = "/",
        *,
        cookies: SimpleCookie | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        subprotocols: Sequence[str] = (),
        **scope: Any,
    ) -> Self:
        """Open a socket at a path, which may have a query, and wait for the answer.

        Pass `cookies=client.cookies` to be the user of a `django.test.Client`. Further keywords
        become items of the ASGI scope, such as `user=` in a test of a consumer alone.
        """
        parts = urlsplit(url)
        if cookies:
            pairs = "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items())
            headers = [*headers, (b"cookie", pairs.encode())]
        scope = {
            "type": "websocket",
            "path": unquote(parts.path),
            "query_string": parts.query.encode(),
            "headers": list(headers),
            "subprotocols": list(subprotocols),
            **scope,
        }
        communicator = ApplicationCommunicator(application, scope)
        await communicator.send_input({"type": "websocket.connect"})
        return cls(communicator, await communicator.receive_output(TIMEOUT))

    @property
    def connected(self) -> bool:
        """Return whether the handshake was accepted."""
        return bool(self.answer["type"] == "websocket.accept")

    async def send(self, **event: Any) -> None:
        """Send an event as one text frame."""
        await self.send_text(json.dumps(event))

    async def send_text(self, text: str) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        await self.communicator.send_input({"type": "websocket.receive", "bytes": data})

    async def receive(self, *, presence: bool = False) -> Event:
        """Return the next event. Skip `presence` events unless they are asked for."""
        while True:
            message = await self.communicator.receive_output(TIMEOUT)
            assert message["type"] == "websocket.send", message
            event: Event = json.loads(message["text"])
            if presence or event["type"] != "presence":
                return event

    async def receive_until(self, kind: str) -> list[Event]:
        """Return the events up to the first of this type, inclusive."""
        events: list[Event] = []
        while not events or events[-1]["type"] != kind:
            events.append(await self.receive(presence=kind == "presence"))
        return events

    async def wait_for_users(self, *names: str) -> Event:
        """Wait until exactly the users with these names are present. Return the last event."""
        while True:
            (*_, event) = await self.receive_until("presence")
            if [user["user"] for user in event.get("users", ())] == sorted(names):
                return event

    async def receives_nothing(self) -> bool:
        """Return whether the answer to a ping is the next event."""
        await self.send(type="ping")
        return await self.receive() == {"type": "pong"}

    async def close_code(self) -> int:
        """Return the code of the close that follows, skipping what is sent before it."""
        while (message := await self.communicator.receive_output(TIMEOUT))["type"] != (
            "websocket.close"
        ):
            pass
        return int(message.get("code", 1000))

    async def disconnect(self, code: int = 1000) -> None:
        """Disconnect, and wait until the application has cleaned up."""
        # send_input() would raise CancelledError, and break the tests after this one, if a wait
        # for an event has timed out before.
        await self.communicator.input_queue.put({"type": "websocket.disconnect", "code": code})
        await self.communicator.wait(TIMEOUT)


@asynccontextmanager
async def open_sockets(
    application: Application,
) -> AsyncIterator[Callable[..., Awaitable[SocketClient]]]:
    """Yield a function that opens sockets of an application, as `SocketClient.connect` does.

    At the end disconnect all, drain the process, and close the database connections of threads.
    """
    clients: list[SocketClient] = []

    async def connect(*arguments: Any, **options: Any) -> SocketClient:
        clients.append(await SocketClient.connect(application, *arguments, **options))
        return clients[-1]

    try:
        yield connect
        for client in clients:
            await client.disconnect()
    finally:
        await get_process().drain()
        processes.clear()
        await sync_to_async(close_connections)()


@contextmanager
def running_server(log: Path | None = None, /, **environ: str) -> Iterator[tuple[str, Server]]:
    """Run `manage.py serve` on the database of the tests, with these environment variables.

    Yield its address, such as `127.0.0.1:54321`, and the process. Stop it by SIGTERM at the end.
    The output goes to the file `log`, if there is one. The project has to read PORT and
    DATABASE_URL from the environment.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environ = {"PORT": str(port), "DATABASE_URL": url_of_test_database(), **environ}
    command = [sys.executable, "manage.py", "serve", "--exit-with-parent"]
    with log.open("wb") if log else nullcontext() as output:
        server = subprocess.Popen(
            command,
            env=os.environ | environ,
            cwd=settings.BASE_DIR,
            stdout=output,
            stderr=output,
        )
        try:
            wait_until_answered(port, server)
            yield f"127.0.0.1:{port}", server
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(STOP_SECONDS)


def wait_until_answered(port: int, server: Server) -> None:
    """Wait until a server answers. Raise AssertionError if it never does.

    It accepts connections seconds before, while the application is imported.
    """
    deadline = time.monotonic() + START_SECONDS
    request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    while True:
        assert server.poll() is None, "the server ended before it answered"
        assert time.monotonic() < deadline, "the server does not answer"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(request)
            connection.recv(1)  # a server with TLS closes the connection
            return
        time.sleep(0.05)


def url_of_test_database() -> str:
    """Return the URL of the database that the tests use."""
    variables = {**dotenv_values(settings.BASE_DIR / ".env"), **os.environ}
    parts = urlsplit(variables["DATABASE_URL"] or "")
    name = connections[DEFAULT_DB_ALIAS].settings_dict["NAME"]
    return f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"


def missing_services() -> list[str]:
    """Describe each service that the tests need and that does not answer, with the fix."""
    with override_settings(REDIS_PREFIX="test-services"):  # apart from the site, as the tests are
        problems = [f"{error.msg} {error.hint}" for error in channel_layer_answers()]
    is_server = connections[DEFAULT_DB_ALIAS].vendor != "sqlite"
    if is_server and (problem := database_problem()):
        problems.append(problem)
    return problems
