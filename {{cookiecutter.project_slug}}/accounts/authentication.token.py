"""Authentication of sockets by tokens and tickets."""

from collections.abc import Iterator
from urllib.parse import parse_qs

from accounts.models import Ticket, Token
from accounts.tokens import PREFIX, bearer_token, find_token, find_valid_tokens, redeem_ticket
from realtime.auth import Identity
from realtime.auth.sessions import credential_of_session, find_valid_sessions
from realtime.types import Scope, headers


def authenticate(scope: Scope) -> Identity | None:
    """Return the owner of a token or ticket, None for a stranger.

    A token comes as `Authorization: Bearer <token>` or as the subprotocols `bearer, <token>`. A
    page sends a ticket in the query string instead. URLs end in logs, and a used ticket opens
    nothing. The identity ends with the token, or with the token or session of the ticket.
    """
    for text, subprotocol in tokens_of(scope):
        if token := find_token(text):
            return identity_of_token(token, subprotocol, unforgeable=True)
    match parse_qs(scope["query_string"].decode("latin-1")):
        case {"ticket": [text]}:
            ticket = redeem_ticket(text)
            return identity_of_ticket(ticket) if ticket else None
    return None


def tokens_of(scope: Scope) -> Iterator[tuple[str, str | None]]:
    """Yield our tokens in a handshake, each with the subprotocol to select for it."""
    for value in headers(scope, b"authorization"):
        if text := bearer_token(value):
            yield text, None
    subprotocols = scope.get("subprotocols", ())
    if "bearer" in subprotocols:
        yield from ((text, "bearer") for text in subprotocols if text.startswith(PREFIX))


def identity_of_token(
    token: Token, subprotocol: str | None = None, *, unforgeable: bool = False
) -> Identity:
    return Identity(
        token.user,
        token.digest,
        subprotocol,
        expires_at=token.expires_at,
        key=token.digest,
        find_valid=find_valid_tokens,
        unforgeable=unforgeable,
    )


def identity_of_ticket(ticket: Ticket) -> Identity | None:
    if ticket.token:
        return identity_of_token(ticket.token)
    key = ticket.session_key
    if not find_valid_sessions([key]):
        return None
    credential = credential_of_session(key)
    return Identity(ticket.user, credential, key=key, find_valid=find_valid_sessions)
