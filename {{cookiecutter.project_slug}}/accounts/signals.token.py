"""Sockets follow their user: what ends a sign-in ends its sockets, on every process.

Each sign-in and each end of one is a security event in the log.
"""

import logging
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.models import Ticket, Token, digest_of
from realtime.broadcast import disconnect_user
from realtime.logs import report
from realtime.protocol import is_storable


@receiver(user_logged_in)
def on_login(user: User, **_: Any) -> None:
    report("sign_in", user=user.get_username())


@receiver(user_login_failed)
def on_failure(credentials: dict[str, Any], **_: Any) -> None:
    """Name the account only if there is one: people type passwords into the wrong field."""
    name = str(credentials.get("username"))
    known = is_storable(name) and User.objects.filter(username=name).exists()
    report("sign_in_failed", logging.WARNING, account=name if known else "-")


@receiver(user_logged_out)
def on_logout(request: HttpRequest | None, user: User | None, **_: Any) -> None:
    """Other sessions and the tokens of the same user go on, unless the session is unknown."""
    if user is not None:
        report("sign_out", user=user.get_username())
        if request is None:
            disconnect_user(str(user.pk))
        else:
            end(user, digest_of(str(request.session.session_key)))


@receiver(post_save, sender=Token)
def on_token(instance: Token, created: bool, **_: Any) -> None:
    if created:
        report("token_issued", user=instance.user.get_username())


@receiver(post_delete, sender=Token)
def on_revocation(instance: Token, **_: Any) -> None:
    report("token_revoked", account=instance.user.get_username())
    end(instance.user, instance.digest)


def end(user: User, credential: str) -> None:
    Ticket.objects.filter(credential=credential).delete()
    disconnect_user(str(user.pk), credential)


@receiver(post_save, sender=User)
def on_change(instance: User, created: bool, **_: Any) -> None:
    """Revoke access after a deactivation or a new password. `update()` sends no signal."""
    new_password = getattr(instance, "_password", None) is not None and not created
    if not instance.is_active or new_password:
        revoke(instance)


@receiver(post_delete, sender=User)
def on_deletion(instance: User, **_: Any) -> None:
    revoke(instance)


def revoke(user: User) -> None:
    report("access_revoked", account=user.get_username())
    disconnect_user(str(user.pk))
