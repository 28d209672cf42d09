"""Authentication of connections, before any consumer."""

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

from channels.db import database_sync_to_async
from django.core.signals import setting_changed
from django.http import parse_cookie
from django.utils.module_loading import import_string

from realtime.auth.paths import is_public, public
from realtime.auth.sessions import (
    are_sessions_rows,
    are_users_rows,
    is_loaded,
    load_sessions,
    load_users,
)
from realtime.batches import in_batches
from realtime.conf import session_store, settings
from realtime.identity import FindValid, Identity, row_of
from realtime.origin import refuse_origin
from realtime.protocol import Close, refuse
from realtime.types import Application, Message, Receive, Scope, Send, headers

__all__ = ["AuthMiddleware", "FindValid", "Identity", "public"]

SESSIONS = "realtime.auth.sessions.authenticate"
GUESTS = "realtime.auth.guests.authenticate"

type Handshake = tuple[Scope, Application | None]  # the application leads to public paths


class AuthMiddleware:
    """Middleware that sets `scope["user"]` by an authenticator, or closes with 4401.

    Authenticators are the functions that `REALTIME_AUTHENTICATORS` names. They run in a thread,
    take the scope and return an `Identity` or None. The first one that returns an identity wins.
    At a path that `public` opened, a visitor without one is a guest. Concurrent handshakes share
    their queries if only the engine's own authenticators are named, and read rows.
    Sets `cookies`, `session`, `identity`, `credential` and `since`, the time before the look-up, in
    the scope too. The session is read from its store at the first access.
    """

    def __init__(self, inner: Application, router: Application | None = None) -> None:
        self.inner = inner
        self.router = router  # leads to the paths that are open to guests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return await self.inner(scope, receive, send)
        since = time.monotonic()
        cookies = parse_cookie("; ".join(headers(scope, b"cookie")))
        session = session_store()(cookies.get(settings.SESSION_COOKIE_NAME))
        scope = {**scope, "cookies": cookies, "session": session, "since": since}
        identity = await look_up((scope, self.router))
        if "foreign_origin" in scope and not (identity and identity.unforgeable):
            return await refuse_origin(scope["foreign_origin"], receive, send)
        if identity is None:
            # Without one of the subprotocols that it offered, a browser hides the close code.
            offered = next(iter(scope.get("subprotocols", ())), None)
            return await reject(scope, receive, select(offered, send))
        scope |= {"user": identity.user, "identity": identity, "credential": identity.credential}
        await self.inner(scope, receive, select(identity.subprotocol, send))


class Unshared(Exception):
    """Session that names a user who is not loaded. Django may delete it, and wait for a lock."""


async def look_up(handshake: Handshake) -> Identity | None:
    """Return the identity of a handshake, from queries that it shares with others if it can."""
    if can_share():
        with suppress(Unshared):
            return await authenticate_together(handshake)
    return await authenticate_alone(handshake)


@cache
def can_share() -> bool:
    """Return whether handshakes need nothing but rows, which are quickly read for many."""
    kinds = set(settings.REALTIME_AUTHENTICATORS)
    if not kinds <= {SESSIONS, GUESTS} or not are_sessions_rows():
        return False
    return SESSIONS not in kinds or are_users_rows()


setting_changed.connect(lambda **_: can_share.cache_clear(), weak=False)


def authenticate(handshake: Handshake) -> Identity | None:
    """Return what the first successful authenticator found."""
    scope, router = handshake
    for path in settings.REALTIME_AUTHENTICATORS:
        identity: Identity | None = import_string(path)(scope)
        if identity is not None:
            row_of(identity.user)  # loads deferred fields, which the event loop cannot
            return identity
    return import_string(GUESTS)(scope) if is_public(router, scope) else None


authenticate_alone = database_sync_to_async(authenticate)


def authenticate_many(handshakes: list[Handshake]) -> Sequence[Identity | Unshared | None]:
    """Return what `authenticate` returns for each handshake, if it only reads."""
    scopes = [scope for scope, _ in handshakes]
    load_sessions(scopes)
    if SESSIONS in settings.REALTIME_AUTHENTICATORS:
        load_users(scopes)
        return [authenticate(one) if is_loaded(one[0]) else Unshared() for one in handshakes]
    return [authenticate(handshake) for handshake in handshakes]


_, authenticate_together = in_batches(authenticate_many, pause=0.005)


async def reject(scope: Scope, receive: Receive, send: Send) -> None:
    """Close a WebSocket with 4401, or answer a request with 401."""
    if scope["type"] == "websocket":
        return await refuse(Close.NOT_SIGNED_IN)(scope, receive, send)
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def select(subprotocol: str | None, send: Send) -> Send:
    """Accept with the subprotocol unless the consumer selects another (RFC 6455, section 4.1)."""
    return send if subprotocol is None else Selecting(subprotocol, send).send


class Selecting:
    """End of a connection that selects a subprotocol. The server lends its transport as before."""

    def __init__(self, subprotocol: str, send: Send) -> None:
        self.subprotocol = subprotocol
        self.send_to_server = send
        self.lend = getattr(getattr(send, "__self__", None), "lend", None)

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.accept" and message.get("subprotocol") is None:
            message = {**message, "subprotocol": self.subprotocol}
        await self.send_to_server(message)
