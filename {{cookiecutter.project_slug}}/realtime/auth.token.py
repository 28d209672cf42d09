"""Who is at the other end of a socket: the owner of a token, or of a ticket."""

import time
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from django.contrib.auth.base_user import AbstractBaseUser

from accounts.models import digest_of, redeem_ticket, user_of_token
from realtime.protocol import Close, refuse
from realtime.types import Application, Message, Receive, Scope, Send, headers


class AuthMiddleware:
    """Puts the signed-in user into `scope["user"]`; closes with 4401 where there is none.

    A token comes as `Authorization: Bearer <token>` or as the subprotocols `bearer, <token>`. A
    page in a browser sends a ticket in the query instead, since URLs end in logs: it is worth
    nothing once it was used. `scope["credential"]` names the token, or the token or session that
    the ticket was given to, so that the socket ends with it, and
    `scope["since"]` when it was looked up.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "bearer" in scope["subprotocols"]:
            send = select_bearer(send)
        since = time.monotonic()
        user, credential = await user_of(scope)
        if user is None:
            return await refuse(Close.NOT_SIGNED_IN)(scope, receive, send)
        signed_in = {"user": user, "credential": credential, "since": since}
        await self.inner(scope | signed_in, receive, send)


@database_sync_to_async
def user_of(scope: Scope) -> tuple[AbstractBaseUser | None, str]:
    for value in headers(scope, b"authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            return user_of_token(token), digest_of(token)
    match scope["subprotocols"]:
        case ["bearer", token]:
            return user_of_token(token), digest_of(token)
    match parse_qs(scope["query_string"].decode("latin-1")):
        case {"ticket": [ticket]}:
            return redeem_ticket(ticket)
    return None, ""


def select_bearer(send: Send) -> Send:
    """Answer the offered subprotocols, or a browser gives up (RFC 6455, section 4.1)."""

    async def selecting(message: Message) -> None:
        if message["type"] == "websocket.accept":
            message = {**message, "subprotocol": "bearer"}
        await send(message)

    return selecting
