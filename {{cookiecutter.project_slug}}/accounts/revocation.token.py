"""Tokens and tickets: security events in the log, and the sockets that end with a token."""

from typing import Any

from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.models import Ticket, Token, User
from realtime.auth.sessions import credential_of_session
from realtime.broadcast import disconnect_user
from realtime.logs import report


@receiver(user_logged_out)
def on_logout(request: HttpRequest | None, user: User | None, **_: Any) -> None:
    """Delete the unused tickets of the session, then disconnect its sockets.

    The engine has disconnected them before. In between, a ticket may have opened another one.
    """
    if request is not None and user is not None:
        credential = credential_of_session(request.session.session_key)
        Ticket.objects.filter(credential=credential).delete()
        disconnect_user(str(user.pk), credential)


@receiver(post_save, sender=Token)
def on_token(instance: Token, created: bool, **_: Any) -> None:
    if created:
        report("token_issued", user=instance.user.get_username())


@receiver(post_delete, sender=Token)
def on_revocation(instance: Token, **_: Any) -> None:
    """Delete the unused tickets of the token, and disconnect its sockets."""
    report("token_revoked", account=instance.user.get_username())
    Ticket.objects.filter(credential=instance.digest).delete()
    disconnect_user(str(instance.user_id), instance.digest)
