"""Plain types of ASGI, and helpers for them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

type Scope = dict[str, Any]
type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Coroutine[Any, Any, None]]
type Application = Callable[..., Awaitable[None]]
type Write = Callable[[bytes], Any]  # of a transport


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Create a task that runs at once, up to its first wait."""
    return asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)


def headers(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header. The name is in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
