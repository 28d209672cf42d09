"""ASGI in plain types, and the two smallest applications of it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

type Scope = dict[str, Any]
type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Coroutine[Any, Any, None]]
type Application = Callable[..., Awaitable[None]]


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that runs here and now up to where it has to wait; often it is done then."""
    return asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)


def headers(scope: Scope, name: bytes) -> list[str]:
    """The values of a header, whose name is in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def refuse(code: int) -> Application:
    """A WebSocket application that accepts, then closes with the given code.

    A close before the accept would be an HTTP 403, and the client would never see the code
    (ASGI specification, WebSocket, "Close - send event").
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": code})

    return application


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell the server that starting up and shutting down need nothing (ASGI Lifespan protocol)."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
