"""Authentication of sockets by tokens and tickets."""

from itertools import pairwise
from urllib.parse import parse_qs

from accounts.models import User
from accounts.tokens import digest_of, redeem_ticket, user_of_token
from realtime.auth import Identity
from realtime.types import Scope, headers


def authenticate(scope: Scope) -> Identity | None:
    """Return the owner of a token or ticket, None for a stranger.

    A token comes as `Authorization: Bearer <token>` or as the subprotocols `bearer, <token>`. A
    page sends a ticket in the query string instead. URLs end in logs, and a used ticket opens
    nothing. The credential names the token, or the token or session that the ticket was issued to.
    """
    for value in headers(scope, b"authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            return identity(user_of_token(token), digest_of(token))
    for name, token in pairwise(scope.get("subprotocols", ())):
        if name == "bearer":
            return identity(user_of_token(token), digest_of(token), "bearer")
    match parse_qs(scope["query_string"].decode("latin-1")):
        case {"ticket": [ticket]}:
            return identity(*redeem_ticket(ticket))
    return None


def identity(user: User | None, credential: str, subprotocol: str | None = None) -> Identity | None:
    return Identity(user, credential, subprotocol) if user else None
