"""Tokens: security events in the log, and the sockets that end with a token."""

from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone

from accounts.models import Token
from realtime.broadcast import disconnect_credential
from realtime.logs import report


@receiver(post_save, sender=Token)
def on_token(instance: Token, created: bool, raw: bool, **_: Any) -> None:
    if created and not raw:  # not while `loaddata` copies old ones
        report("token_issued", user=instance.user.get_username())


@receiver(post_delete, sender=Token)
def on_revocation(instance: Token, **_: Any) -> None:
    """Disconnect the sockets of the token. Those of an expired one are closed already."""
    if instance.expires_at > timezone.now():
        report("token_revoked", account=instance.user.get_username())
        disconnect_credential(instance.digest)
