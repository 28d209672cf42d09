"""What programs and pages show to get in. Only digests are stored: a stolen table opens nothing."""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone

TICKET_LIFETIME = timedelta(seconds=30)


class Token(models.Model):
    """Lets a program in as its user until it is revoked."""

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="tokens")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.user} since {self.created_at:%Y-%m-%d}"


class Ticket(models.Model):
    """Lets one socket in, once, soon."""

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="tickets")
    credential = models.CharField(max_length=64)  # the digest of the token or session it is for
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.user} until {self.expires_at:%H:%M:%S}"

    @classmethod
    def expired(cls) -> models.QuerySet["Ticket"]:
        """Return the tickets that nobody can use any more, for `manage.py cleanup` to delete."""
        return cls.objects.filter(expires_at__lt=timezone.now())


def issue_token(user: User) -> str:
    """A new token; it cannot be read again later."""
    token = secrets.token_urlsafe(32)
    Token.objects.create(digest=digest_of(token), user=user)
    return token


def user_of_token(token: str) -> User | None:
    """The active user whose token it is, None for any other text."""
    found = Token.objects.select_related("user").filter(digest=digest_of(token)).first()
    return found.user if found and found.user.is_active else None


def revoke_token(token: str) -> None:
    """Close the door to a token; any other text changes nothing."""
    Token.objects.filter(digest=digest_of(token)).delete()


def issue_ticket(user: User, credential: str) -> str:
    """A new ticket for the owner of a token or session; those that expired unused go."""
    Ticket.expired().delete()
    ticket = secrets.token_urlsafe(24)
    Ticket.objects.create(
        digest=digest_of(ticket),
        user=user,
        credential=digest_of(credential),
        expires_at=timezone.now() + TICKET_LIFETIME,
    )
    return ticket


def redeem_ticket(ticket: str) -> tuple[User | None, str]:
    """The active user whose ticket it is, the first time and before it expires; None otherwise.

    With the user comes the digest of the token or session that the ticket was issued to.
    """
    found = Ticket.objects.select_related("user").filter(digest=digest_of(ticket)).first()
    # Of two sockets with one ticket the database lets a single one delete it.
    if found is None or not Ticket.objects.filter(pk=found.pk).delete()[0]:
        return None, ""
    valid = found.user.is_active and found.expires_at > timezone.now()
    return found.user if valid else None, found.credential


def digest_of(secret: str) -> str:
    """Fast is safe here, since the secrets are random and long, unlike passwords."""
    return hashlib.sha256(secret.encode()).hexdigest()
