"""Limits on the size and the time of request bodies."""

import asyncio
import time

from realtime.conf import settings
from realtime.types import Application, Message, Receive, Scope, Send, headers


class Refused(Exception):
    """Refusal of a body that is too large or too slow, with the status of the answer."""

    def __init__(self, status: int) -> None:
        self.status = status


class BodyLimit:
    """Middleware that answers 413 above `SERVER_MAX_BODY_BYTES`, 408 after `SERVER_BODY_SECONDS`.

    Django applies its own limit only to bodies that a view reads, after it has stored them.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.inner(scope, receive, send)
        body = Body(receive)
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            for size in headers(scope, b"content-length"):
                body.count(int(size) if size.isdecimal() else 0)
            body.size = 0
            await self.inner(scope, body.receive, send_on)
        except Refused as refusal:
            if not started:
                await refuse(refusal.status, scope, receive, send)


class Body:
    """Body of one request, up to the limits."""

    def __init__(self, receive: Receive) -> None:
        self.receive_from_server = receive
        self.deadline = time.monotonic() + settings.SERVER_BODY_SECONDS
        self.size = 0
        self.complete = False

    def count(self, size: int) -> None:
        self.size += size
        if self.size > settings.SERVER_MAX_BODY_BYTES:
            raise Refused(413)

    async def receive(self) -> Message:
        if self.complete:  # only the disconnect follows
            return await self.receive_from_server()
        try:
            async with asyncio.timeout(self.deadline - time.monotonic()):
                message = await self.receive_from_server()
        except TimeoutError:
            raise Refused(408) from None
        self.count(len(message.get("body", b"")))
        self.complete = not message.get("more_body", False)
        return message


async def refuse(status: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a status, then discard what still arrives for `SERVER_IDLE_SECONDS`.

    If the server closed at once, unread data would reset the connection, and the client could lose
    the answer (RFC 9112, section 9.6).
    """
    fields = [(b"content-length", b"0")]
    if scope["http_version"].startswith("1"):  # HTTP/2 forbids the header
        fields.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "more_body": True})
    try:
        async with asyncio.timeout(settings.SERVER_IDLE_SECONDS):
            while (await receive()).get("more_body"):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body"})
