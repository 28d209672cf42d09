"""Signal handlers that close sockets and write the security log."""

import logging
from functools import partial
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from realtime.auth.sessions import credential_of_session, identity_of_session
from realtime.broadcast import disconnect_credential, disconnect_user
from realtime.connection import current
from realtime.identity import user_id
from realtime.logs import report
from realtime.protocol import is_storable
from realtime.revalidation import SignIn


@receiver(user_logged_in)
def on_login(request: HttpRequest | None, user: AbstractBaseUser, **_: Any) -> None:
    """Report the sign-in. The connection of a consumer that calls `login()` gets the new user."""
    report("sign_in", user=user.get_username())
    connection = current.get()
    session = connection.scope.get("session") if connection else None
    if request is None and connection and session and session.get(SESSION_KEY) == str(user.pk):
        connection.follow(SignIn(identity_of_session(user, session), session))


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
    """Disconnect the sockets of the session, which Django is about to delete.

    `channels.auth.logout()` has no request. Then the session is that of the consumer's connection,
    which becomes a guest again if it was one. Without a session, disconnect the sockets of the
    token, or all of the user.
    """
    if user is None:
        return
    report("sign_out", user=user.get_username())
    connection = current.get() if request is None else None
    session = connection.sign_in.session if connection else getattr(request, "session", None)
    if session is not None:
        sender = connection.id if connection and connection.return_to_guest() else ""
        disconnect_credential(credential_of_session(session.session_key), sender=sender)
    else:
        credential = connection.sign_in.identity.credential if connection else None
        disconnect_user(user_id(user), credential)


def on_session_deletion(instance: AbstractBaseSession, using: str, **_: Any) -> None:
    """Disconnect the sockets of the session. Those of an expired one end with the next beat.

    If a consumer deletes the session of its own connection, that one stays: `login()` gives it
    another session. Without another one it ends with the next beat.
    """
    if instance.expire_date < timezone.now():
        return
    credential = credential_of_session(instance.session_key)
    connection = current.get()
    sender = connection.id if connection else ""
    transaction.on_commit(partial(disconnect_credential, credential, sender=sender), using)


for model in apps.get_models():
    if issubclass(model, AbstractBaseSession):
        post_delete.connect(on_session_deletion, sender=model)


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def on_change(instance: AbstractBaseUser, created: bool, **_: Any) -> None:
    """Disconnect after a deactivation or a new password. `update()` sends no signal."""
    new_password = getattr(instance, "_password", None) is not None and not created
    if new_password or not getattr(instance, "is_active", True):
        revoke(instance)


@receiver(post_delete, sender=settings.AUTH_USER_MODEL)
def on_deletion(instance: AbstractBaseUser, **_: Any) -> None:
    revoke(instance)


def revoke(user: AbstractBaseUser) -> None:
    report("access_revoked", account=user.get_username())
    disconnect_user(user_id(user))
