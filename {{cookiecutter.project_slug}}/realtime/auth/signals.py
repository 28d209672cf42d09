"""Sign-ins and their ends: sockets end with them, and the security log has each of them."""

import logging
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from realtime.auth.sessions import credential_of_session
from realtime.broadcast import disconnect_user
from realtime.identity import user_id
from realtime.logs import report
from realtime.protocol import is_storable


@receiver(user_logged_in)
def on_login(user: AbstractBaseUser, **_: Any) -> None:
    report("sign_in", user=user.get_username())


@receiver(user_login_failed)
def on_failure(credentials: dict[str, Any], **_: Any) -> None:
    """Name the account only if it exists: people type passwords into the wrong field."""
    model = get_user_model()
    name = str(credentials.get("username", credentials.get(model.USERNAME_FIELD)))
    accounts = model._default_manager.filter(**{model.USERNAME_FIELD: name})
    known = is_storable(name) and accounts.exists()
    report("sign_in_failed", logging.WARNING, account=name if known else "-")


@receiver(user_logged_out)
def on_logout(request: HttpRequest | None, user: AbstractBaseUser | None, **_: Any) -> None:
    """Disconnect the sockets of the session.

    A consumer that calls `channels.auth.logout()` has no request, and the session is unknown here.
    In that case disconnect all sockets of the user.
    """
    if user is not None:
        report("sign_out", user=user.get_username())
        credential = credential_of_session(request.session.session_key) if request else None
        disconnect_user(user_id(user), credential)


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def on_change(instance: AbstractBaseUser, created: bool, **_: Any) -> None:
    """Disconnect after a deactivation or a new password. `update()` sends no signal."""
    new_password = getattr(instance, "_password", None) is not None and not created
    if not instance.is_active or new_password:
        revoke(instance)


@receiver(post_delete, sender=settings.AUTH_USER_MODEL)
def on_deletion(instance: AbstractBaseUser, **_: Any) -> None:
    revoke(instance)


def revoke(user: AbstractBaseUser) -> None:
    report("access_revoked", account=user.get_username())
    disconnect_user(user_id(user))
