"""Refusal of WebSockets that others on the network can read."""

import logging
from io import BytesIO

from django.core.handlers.asgi import ASGIRequest

from realtime import logs
from realtime.conf import settings
from realtime.proxy import parse
from realtime.types import Application, Receive, Scope, Send

SCHEMES = {"ws": "http", "wss": "https"}


class HttpsRequired:
    """Answers a handshake over plain HTTP with 403, where `SECURE_SSL_REDIRECT` redirects pages.

    A redirect would be of no use: the request has shown its cookie or token already, and few
    clients follow one. A client on this machine may connect without TLS.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        required = scope["type"] == "websocket" and settings.SECURE_SSL_REDIRECT
        if not required or is_local(scope) or is_secure(scope):
            return await self.inner(scope, receive, send)
        logs.report("insecure_refused", logging.WARNING, setting="SECURE_SSL_REDIRECT")
        await receive()
        await send({"type": "websocket.close"})


def is_local(scope: Scope) -> bool:
    """Return whether the client is a program on this machine."""
    address = parse((scope.get("client") or ("", 0))[0])
    return address is not None and address.is_loopback


def is_secure(scope: Scope) -> bool:
    """Return whether the client uses TLS, to the server or to a proxy that reports it."""
    scheme = SCHEMES.get(scope.get("scheme", "ws"))
    return ASGIRequest({**scope, "method": "GET", "scheme": scheme}, BytesIO()).is_secure()
