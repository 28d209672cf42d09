"""Who is at the other end of a socket: the user of Django's session."""

import hashlib
import time
from importlib import import_module

from channels.db import database_sync_to_async
from django.contrib.auth import get_user
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, parse_cookie

from realtime.conf import settings
from realtime.protocol import Close, refuse
from realtime.types import Application, Receive, Scope, Send, headers

SessionStore = import_module(settings.SESSION_ENGINE).SessionStore


class AuthMiddleware:
    """Puts the signed-in user into `scope["user"]`; closes with 4401 where there is none.

    `scope["credential"]` names the session, so that the socket ends with it, and
    `scope["since"]` when it was looked up.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        since = time.monotonic()
        cookies = parse_cookie("; ".join(headers(scope, b"cookie")))
        session_key = cookies.get(settings.SESSION_COOKIE_NAME)
        user = await user_of_session(session_key)
        if user is None:
            return await refuse(Close.NOT_SIGNED_IN)(scope, receive, send)
        credential = credential_of_session(session_key)
        signed_in = {"user": user, "credential": credential, "since": since}
        await self.inner(scope | signed_in, receive, send)


def credential_of_session(session_key: str | None) -> str:
    """Identify a session's sockets without exposing the session key."""
    return hashlib.sha256(str(session_key).encode()).hexdigest()


@database_sync_to_async
def user_of_session(session_key: str | None) -> AbstractBaseUser | None:
    """The user that Django's own `get_user` finds, both queries in one visit to a thread."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = get_user(request)
    return user if isinstance(user, AbstractBaseUser) else None
