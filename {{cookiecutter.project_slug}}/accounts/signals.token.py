"""Sockets follow their user: what ends a sign-in ends its sockets, on every process."""

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.models import Ticket, Token, digest_of
from realtime.broadcast import sign_out


@receiver(user_logged_out)
def on_logout(request: HttpRequest, user: User | None, **_: Any) -> None:
    """Other sessions and the tokens of the same user go on."""
    if user is not None:
        end(user, digest_of(str(request.session.session_key)))


@receiver(post_delete, sender=Token)
def on_revocation(instance: Token, **_: Any) -> None:
    end(instance.user, instance.digest)


def end(user: User, credential: str) -> None:
    Ticket.objects.filter(credential=credential).delete()
    sign_out(user.get_username(), credential)


@receiver(post_save, sender=User)
def on_change(instance: User, **_: Any) -> None:
    """A deactivation, or a new password; `update()` of a query sends no signal."""
    if not instance.is_active or getattr(instance, "_password", None) is not None:
        sign_out(instance.get_username())


@receiver(post_delete, sender=User)
def on_deletion(instance: User, **_: Any) -> None:
    sign_out(instance.get_username())
