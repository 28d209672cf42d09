"""Who is at the other end of a socket: a guest, whose name is kept in the session cookie."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from django.http import HttpRequest, HttpResponse, parse_cookie

from realtime.conf import settings
from realtime.middleware import FOR_OPERATORS
from realtime.types import Application, Receive, Scope, Send, headers

SessionStore = import_module(settings.SESSION_ENGINE).SessionStore


@dataclass(frozen=True)
class Guest:
    """Somebody who did not sign in."""

    username: str

    def get_username(self) -> str:
        return self.username


def new_name() -> str:
    return f"guest-{secrets.token_hex(4)}"


class GuestMiddleware:
    """Gives each visitor of a page a name, under `guest` in the session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "guest" not in request.session and request.path not in FOR_OPERATORS:
            request.session["guest"] = new_name()
        return self.get_response(request)


class AuthMiddleware:
    """Puts the guest of the session cookie into `scope["user"]`, a new one where there is none."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        since = time.monotonic()
        cookies = parse_cookie("; ".join(headers(scope, b"cookie")))
        session = SessionStore(cookies.get(settings.SESSION_COOKIE_NAME))
        guest = Guest(session.get("guest") or new_name())
        signed_in = {"user": guest, "credential": None, "since": since}
        await self.inner(scope | signed_in, receive, send)
