"""Tokens of programs and tickets of pages: issue, look up, revoke."""

import hashlib
import secrets

from django.utils import timezone

from accounts.models import Ticket, Token, User


def issue_token(user: User) -> str:
    """Create a token. Its text cannot be read again later."""
    token = secrets.token_urlsafe(32)
    Token.objects.create(digest=digest_of(token), user=user)
    return token


def user_of_token(token: str) -> User | None:
    """Return the active owner of a token, None for any other text."""
    found = Token.objects.select_related("user").filter(digest=digest_of(token)).first()
    return found.user if found and found.user.is_active else None


def revoke_token(token: str) -> None:
    """Delete a token. Any other text changes nothing."""
    Token.objects.filter(digest=digest_of(token)).delete()


def issue_ticket(user: User, credential: str) -> str:
    """Create a ticket for the owner of a token or session, and delete the expired ones.

    The credential is that of the sockets which the token or session opens.
    """
    Ticket.expired().delete()
    ticket = secrets.token_urlsafe(24)
    Ticket.objects.create(
        digest=digest_of(ticket),
        user=user,
        credential=credential,
        expires_at=timezone.now() + Ticket.LIFETIME,
    )
    return ticket


def redeem_ticket(ticket: str) -> tuple[User | None, str]:
    """Return the active owner of a valid ticket, or None, and delete the ticket.

    The second value is the digest of the token or session that the ticket was issued to.
    """
    found = Ticket.objects.select_related("user").filter(digest=digest_of(ticket)).first()
    # If two sockets show the same ticket, the database lets only one of them delete it.
    if found is None or not Ticket.objects.filter(pk=found.pk).delete()[0]:
        return None, ""
    valid = found.user.is_active and found.expires_at > timezone.now()
    return found.user if valid else None, found.credential


def digest_of(secret: str) -> str:
    """Return the SHA-256 digest of a secret. Unlike a password it is random, so fast is safe."""
    return hashlib.sha256(secret.encode()).hexdigest()
