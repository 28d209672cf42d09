"""Tokens of programs and tickets of pages: issue, look up, revoke."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import Ticket, Token, User
from realtime.lookups import one_of

PREFIX = "site_"  # distinguishes our tokens from others, such as JWTs
TICKET_LIFETIME = timedelta(seconds=30)
USE_INTERVAL = timedelta(minutes=1)  # between two updates of `last_used_at`


class TooManyTokens(Exception):
    """The user has `TOKENS_PER_USER` tokens. The text names the fix."""


def issue_token(user: User, name: str) -> tuple[str, Token]:
    """Create a token and return its text, which cannot be read again later.

    Raise TooManyTokens.
    """
    with transaction.atomic():
        # Concurrent calls queue here, so that each counts the tokens of the others.
        user = get_user_model()._base_manager.select_for_update().get(pk=user.pk)
        tokens = valid_tokens(user)
        Token.objects.filter(user=user).exclude(pk__in=[token.pk for token in tokens]).delete()
        if len(tokens) >= settings.TOKENS_PER_USER:
            refusal = gettext("You have %(count)s tokens. Revoke one of them first.")
            raise TooManyTokens(refusal % {"count": len(tokens)})
        text = PREFIX + secrets.token_urlsafe(32)
        token = Token.objects.create(
            digest=digest_of(text),
            user=user,
            stamp=user.get_session_auth_hash(),
            name=name,
            expires_at=timezone.now() + timedelta(days=settings.TOKEN_DAYS),
        )
    return text, token


def valid_tokens(user: User) -> list[Token]:
    """Return the tokens of a user that open something, the newest first."""
    tokens = Token.objects.filter(user=user).select_related("user").order_by("-pk")
    return [token for token in tokens if token.is_valid()]


def find_token(text: str) -> Token | None:
    """Return the valid token with this text, and record its use. None for any other text."""
    token = Token.objects.select_related("user").filter(digest=digest_of(text)).first()
    if token is None or not token.is_valid():
        return None
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at >= USE_INTERVAL:
        stamp = token.user.get_session_auth_hash()  # another one after a change of SECRET_KEY
        Token.objects.filter(pk=token.pk).update(last_used_at=now, stamp=stamp)
    return token


def find_valid_tokens(digests: Collection[str]) -> set[str]:
    """Return the digests of tokens that still exist and have not expired."""
    tokens = Token.objects.filter(one_of("digest", digests), expires_at__gt=timezone.now())
    return set(tokens.values_list("digest", flat=True))


def issue_ticket(user: User, *, token: Token | None = None, session_key: str = "") -> str:
    """Create a ticket for the owner of a token or session, and delete the expired ones."""
    Ticket.expired().delete()
    text = secrets.token_urlsafe(24)
    expires_at = timezone.now() + TICKET_LIFETIME
    Ticket.objects.create(
        digest=digest_of(text),
        user=user,
        stamp=user.get_session_auth_hash(),
        expires_at=min(expires_at, token.expires_at) if token else expires_at,
        token=token,
        session_key=session_key,
    )
    return text


def redeem_ticket(text: str) -> Ticket | None:
    """Delete the ticket with this text, and return it if it was valid."""
    tickets = Ticket.objects.select_related("user", "token")
    ticket = tickets.filter(digest=digest_of(text)).first()
    # If two sockets show the same ticket, the database lets only one of them delete it.
    if ticket is None or not Ticket.objects.filter(pk=ticket.pk).delete()[0]:
        return None
    return ticket if ticket.is_valid() else None


def bearer_token(authorization: str) -> str | None:
    """Return the token in a header `Authorization: Bearer <token>`, None if it is not ours."""
    scheme, _, text = authorization.partition(" ")
    text = text.strip()
    return text if scheme.lower() == "bearer" and text.startswith(PREFIX) else None


def digest_of(secret: str) -> str:
    """Return the SHA-256 digest of a secret. Unlike a password it is random, so fast is safe."""
    return hashlib.sha256(secret.encode()).hexdigest()
