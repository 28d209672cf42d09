"""End of sockets with the sign-in of their user, wherever Django itself reports it."""

from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from realtime.auth.sessions import credential_of_session
from realtime.broadcast import disconnect_user
from realtime.identity import user_id


@receiver(user_logged_out)
def on_logout(request: HttpRequest | None, user: AbstractBaseUser | None, **_: Any) -> None:
    """Disconnect the sockets of the session.

    A consumer that calls `channels.auth.logout()` has no request, and the session is unknown here.
    In that case disconnect all sockets of the user.
    """
    if user is not None:
        credential = credential_of_session(request.session.session_key) if request else None
        disconnect_user(user_id(user), credential)


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def on_change(instance: AbstractBaseUser, created: bool, **_: Any) -> None:
    """Disconnect after a deactivation or a new password. `update()` sends no signal."""
    new_password = getattr(instance, "_password", None) is not None and not created
    if not instance.is_active or new_password:
        disconnect_user(user_id(instance))


@receiver(post_delete, sender=settings.AUTH_USER_MODEL)
def on_deletion(instance: AbstractBaseUser, **_: Any) -> None:
    disconnect_user(user_id(instance))
