"""Accounts and attempts to sign in{{ ", and the tokens and tickets of programs and pages" if cookiecutter.auth == "token" }}."""

{% if cookiecutter.auth == "token" %}
from datetime import timedelta
{% endif %}
from typing import Any

{% if cookiecutter.auth == "token" %}
from django.conf import settings
{% endif %}
from django.contrib.auth.models import AbstractUser
from django.contrib.auth.signals import user_logged_in
from django.db import models
from django.dispatch import receiver
from django.http import HttpRequest
{% if cookiecutter.auth == "token" %}
from django.utils import timezone
{% endif %}

from realtime.auth.throttle import Throttle, network_of


class User(AbstractUser):
    """Account of a person or program. Others see the display name, never the user name."""

    display_name = models.CharField(
        max_length=150, blank=True, help_text="Shown to everybody. Default: the user name."
    )

    class Meta(AbstractUser.Meta):
        # An empty display name would be shown as the user name, which may be an e-mail address.
        constraints = (
            models.CheckConstraint(condition=~models.Q(display_name=""), name="user_display_name"),
        )

    def clean(self) -> None:
        super().clean()
        self.display_name = self.display_name or self.username

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.display_name = self.display_name or self.username
        super().save(*args, **kwargs)


class SignInAttempt(Throttle):
    """Failed sign-ins of user names and addresses, and the addresses where users signed in.

    An address where the user signed in before is counted on its own, so that strangers cannot
    lock anyone out.
    """

    NAME_LIMIT = 10  # failures before the first wait
    ADDRESS_LIMIT = 30  # more, because many people can share an address

    @classmethod
    def limits(cls, name: str, address: str) -> dict[str, int]:
        """Return the limits of the keys under which this attempt is counted."""
        if address and cls.is_trusted(f"{address} {name}"):
            return {f"{address} {name}": cls.NAME_LIMIT}
        keys = {f"name {name}": cls.NAME_LIMIT, f"address {address}": cls.ADDRESS_LIMIT}
        return keys if address else {f"name {name}": cls.NAME_LIMIT}


@receiver(user_logged_in)
def trust_address(request: HttpRequest | None, user: User, **_: Any) -> None:
    if address := network_of(request):
        SignInAttempt.trust(f"{address} {user.get_username()}")
{% if cookiecutter.auth == "token" %}


class Token(models.Model):
    """Access of a program, until it is revoked. Only a digest is stored."""

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="tokens")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.user} since {self.created_at:%Y-%m-%d}"


class Ticket(models.Model):
    """Access for one socket, once, within `LIFETIME`. Only a digest is stored."""

    LIFETIME = timedelta(seconds=30)

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="tickets")
    credential = models.CharField(max_length=64)  # the digest of the token or session it is for
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.user} until {self.expires_at:%H:%M:%S}"

    @classmethod
    def expired(cls) -> models.QuerySet["Ticket"]:
        """Return the tickets that have expired, for `manage.py cleanup` to delete."""
        return cls.objects.filter(expires_at__lt=timezone.now())
{% endif %}
