"""Validation of the Origin header of handshakes."""

import logging
from io import BytesIO
from urllib.parse import urlsplit

from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest

from realtime import logs
from realtime.conf import settings
from realtime.types import Application, Receive, Scope, Send, headers

DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def parse_origin(value: str) -> str:
    """Return the origin in the form that browsers send (RFC 6454, section 6.2).

    Raises ValueError for what is not a scheme, a host and at most a port.
    """
    parts = urlsplit(value.lower())
    origin = f"{parts.scheme}://{parts.hostname}"
    if ":" in (parts.hostname or ""):
        origin = f"{parts.scheme}://[{parts.hostname}]"
    if parts.port:
        origin += f":{parts.port}"
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or origin != value.lower():
        raise ValueError(f"{value!r} is not an origin: a scheme, a host and at most a port")
    return origin.removesuffix(DEFAULT_PORTS[parts.scheme])


def is_allowed(origin: str, scope: Scope) -> bool:
    """Return whether pages of the origin may open this socket.

    Without `ALLOWED_ORIGINS` only pages of the same host may, if `ALLOWED_HOSTS` has it.
    """
    if settings.ALLOWED_ORIGINS is not None:
        return origin in settings.ALLOWED_ORIGINS
    request = ASGIRequest({**scope, "method": "GET"}, BytesIO())
    try:
        return urlsplit(origin).netloc == request.get_host()
    except DisallowedHost:
        return False


class OriginValidator:
    """Answers a handshake with 403 if its Origin is not one of `ALLOWED_ORIGINS`.

    Browsers always send the header (RFC 6455, section 4.1). A client without it is not a browser:
    it cannot misuse a visitor's cookie, and signs in like others.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return await self.inner(scope, receive, send)
        for origin in headers(scope, b"origin"):
            if not is_allowed(origin, scope):
                facts = {"origin": origin, "setting": "ALLOWED_ORIGINS"}
                logs.report("origin_refused", logging.WARNING, **facts)
                await receive()
                return await send({"type": "websocket.close"})
        await self.inner(scope, receive, send)
