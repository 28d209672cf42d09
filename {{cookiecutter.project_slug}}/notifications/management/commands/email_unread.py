"""Mails about notifications that stay unread; to be run every few minutes."""

import logging
from datetime import timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import send_mail
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from notifications.models import Notification
from realtime.mail import site_name

logger = logging.getLogger(__name__)

SHOWN = 20  # notifications listed in a mail; the others are counted


class Command(BaseCommand):
    """Command that mails each user once about what is unread for NOTIFICATIONS_EMAIL_MINUTES."""

    help = "Mail users about notifications that stay unread. Run it every few minutes."

    def handle(self, **options: Any) -> None:
        if not settings.EMAIL:
            self.stdout.write("EMAIL_URL is empty: no mail is sent.")
            return
        page = site_origin() + reverse("notifications")
        sent = failed = 0
        for user_id in due().order_by("user").values_list("user", flat=True).distinct():
            claimed = claim(user_id)
            try:
                sent += mail(claimed, page)
            except (OSError, ValueError) as error:  # also of smtplib, and of an invalid address
                logger.exception("A mail about notifications to user %s was not sent", user_id)
                if not is_final(error):
                    failed += 1
                    release(claimed)
        self.stdout.write(f"Sent {sent} mails.")
        if failed:
            raise CommandError(f"{failed} mails failed. The next run sends them.")


def due() -> QuerySet[Notification]:
    """Return what is unread for NOTIFICATIONS_EMAIL_MINUTES, and of which no mail was sent."""
    latest = timezone.now() - timedelta(minutes=settings.NOTIFICATIONS_EMAIL_MINUTES)
    address = get_user_model().get_email_field_name()
    return Notification.objects.filter(
        read_at=None, mailed_at=None, created_at__lte=latest, user__is_active=True
    ).exclude(**{f"user__{address}": ""})


def claim(user_id: Any) -> list[Notification]:
    """Mark what is due of a user as mailed, and return it.

    This comes before the mail: if the command is killed between them, that mail is not sent.
    If two commands run at once, the rows are locked, and each is returned to one of them.
    """
    with transaction.atomic():
        rows = due().filter(user=user_id).select_related("user").order_by("pk")
        found = list(rows.select_for_update(of=("self",)))
        Notification.objects.filter(pk__in=[row.pk for row in found]).update(
            mailed_at=timezone.now()
        )
    return found


def release(claimed: list[Notification]) -> None:
    """Let the next run mail these."""
    Notification.objects.filter(pk__in=[row.pk for row in claimed]).update(mailed_at=None)


def is_final(error: Exception) -> bool:
    """Return whether the mail would fail again: codes from 500 on are final (RFC 5321, 4.2.1)."""
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    if isinstance(error, SMTPDataError):
        return error.smtp_code >= 500
    return isinstance(error, ValueError)


def site_origin() -> str:
    """Return the origin to which mails link. Raise CommandError if no browser opens any of them."""
    for origin in settings.ALLOWED_ORIGINS:
        if origin.startswith(("http://", "https://")) and "*" not in origin:
            return str(origin)
    raise CommandError(
        "ALLOWED_ORIGINS: mails cannot link to any of these. Add one such as https://chat.example.com."
    )


def mail(notifications: list[Notification], page: str) -> int:
    """Send one mail about all notifications of a user. Return the number of mails."""
    if not notifications:
        return 0
    count = len(notifications)
    user = notifications[0].user
    address = getattr(user, user.get_email_field_name())
    lines = [f"- {notification.text}" for notification in notifications[:SHOWN]]
    if count > SHOWN:
        lines.append(gettext("and %(count)s more") % {"count": count - SHOWN})
    subject = ngettext("%d unread notification", "%d unread notifications", count) % count
    site = site_name()
    body = "\n".join([*lines, "", f"{site}: {page}"])
    send_mail(f"{site}: {subject}", body, None, [address])
    return 1
