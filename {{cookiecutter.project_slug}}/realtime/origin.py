"""Validation of the Origin header of handshakes."""

import logging
import re
from io import BytesIO
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.utils.http import is_same_domain

from realtime import logs
from realtime.conf import settings
from realtime.types import Application, Receive, Scope, Send, headers

DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# Pages of these schemes have no origin, or none of the form `scheme://host` (WHATWG URL, "origin").
WITHOUT_ORIGIN = {"about", "blob", "data", "file", "ftp", "javascript", "ws", "wss"}
LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
HOST = re.compile(rf"{LABEL}(\.{LABEL})*\.?")
# Python maps these letters to others, browsers do not (Unicode TS 46, "deviation characters").
AMBIGUOUS = "\xdf\u03c2\u200c\u200d"


def parse_origin(value: str) -> str:
    """Return the origin in the form that browsers send (RFC 6454, section 6.2).

    Each page has a scheme, a host and perhaps a port. `*.` before the host stands for the host and
    its subdomains, as in Django's `CSRF_TRUSTED_ORIGINS`. Raise ValueError for what never matches.
    """
    try:
        scheme, host, port = split_origin(value.lower())
        wildcard = "*." if host.startswith("*.") else ""
        origin = f"{scheme}://{wildcard}{ascii_host(host.removeprefix(wildcard))}{port}"
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        raise ValueError(
            f"{value!r} is not an origin: a scheme, a host and at most a port{reason}"
        ) from error
    return origin.removesuffix(DEFAULT_PORTS.get(scheme, ":"))


def split_origin(value: str) -> tuple[str, str, str]:
    """Return the scheme, the host, and the port with its colon."""
    parts = urlsplit(value)
    host = parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]
    port = "" if parts.port is None else f":{parts.port}"
    if value != f"{parts.scheme}://{host}{port}" or not host:
        raise ValueError
    if parts.scheme in WITHOUT_ORIGIN:
        raise ValueError(f"a page has no origin of the scheme {parts.scheme}")
    return parts.scheme, host, port


def ascii_host(host: str) -> str:
    """Return a host as browsers write it: international names in Punycode, addresses shortened."""
    if host.startswith("["):
        return f"[{IPv6Address(host[1:-1]).compressed}]"
    if not host.isascii():
        try:
            if set(host) & set(AMBIGUOUS):
                raise UnicodeError
            host = host.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ValueError("write the host in Punycode, xn--...") from error
    if not HOST.fullmatch(host) or len(host) > 253:
        raise ValueError
    if host.rstrip(".").rpartition(".")[2].isdigit():
        IPv4Address(host)
    return host


def is_allowed(origin: str, scope: Scope) -> bool:
    """Return whether pages of the origin may open this socket.

    Without `ALLOWED_ORIGINS` only pages of the same host may, if `ALLOWED_HOSTS` has it.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if settings.ALLOWED_ORIGINS is not None:
        return any(
            origin == allowed or matches(parts.scheme, parts.netloc, allowed)
            for allowed in settings.ALLOWED_ORIGINS
        )
    request = ASGIRequest({**scope, "method": "GET"}, BytesIO())
    try:
        return parts.netloc == request.get_host()
    except DisallowedHost:
        return False


def matches(scheme: str, host: str, allowed: str) -> bool:
    """Return whether a wildcard has the host, as Django decides it for POST requests."""
    its_scheme, _, pattern = allowed.partition("://*")
    return bool(pattern) and scheme == its_scheme and is_same_domain(host, pattern)


def explain_refusal(request: HttpRequest, origin: str) -> str:
    """Return why handshakes of pages of the origin fail where this request arrived."""
    if not isinstance(request, ASGIRequest):
        return "It is not an ASGI server. Run: python manage.py serve"
    if not is_allowed(origin, dict(request.scope)):
        return f"Add {origin} to ALLOWED_ORIGINS."
    return (
        "It allows this origin. Its log names the reason, unless a proxy drops the headers Upgrade "
        "and Connection: https://nginx.org/en/docs/http/websocket.html"
    )


class OriginValidator:
    """Middleware that answers a handshake with 403 if its Origin is not one of `ALLOWED_ORIGINS`.

    Browsers always send the header (RFC 6455, section 4.1). A client without it is not a browser:
    it cannot misuse a visitor's cookie, and signs in like others.

    With `defer`, a handshake that has a credential in its own headers passes without its cookies.
    `AuthMiddleware` reads `scope["foreign_origin"]`, and refuses it unless the credential is valid.
    """

    def __init__(self, inner: Application, *, defer: bool = False) -> None:
        self.inner = inner
        self.defer = defer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return await self.inner(scope, receive, send)
        for origin in headers(scope, b"origin"):
            if is_allowed(origin, scope):
                continue
            if not self.defer or not has_credential(scope):
                return await refuse_origin(origin, receive, send)
            without_cookies = [header for header in scope["headers"] if header[0] != b"cookie"]
            scope = {**scope, "headers": without_cookies, "foreign_origin": origin}
        await self.inner(scope, receive, send)


def has_credential(scope: Scope) -> bool:
    """Return whether a handshake claims a credential that a browser does not add by itself."""
    return bool(headers(scope, b"authorization")) or "bearer" in scope.get("subprotocols", ())


async def refuse_origin(origin: str, receive: Receive, send: Send) -> None:
    """Answer a handshake with 403, and log the setting that would allow it."""
    facts = {"origin": origin, "setting": "ALLOWED_ORIGINS"}
    logs.report("origin_refused", logging.WARNING, **facts)
    await receive()
    await send({"type": "websocket.close"})
