"""Notifications of users. A new one, and what is read, are events in the user's feed."""

from datetime import UTC, timedelta
from typing import Any

from django.conf import settings
from django.core.validators import ProhibitNullCharactersValidator, RegexValidator, URLValidator
from django.db import models, transaction
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from realtime.broadcast import group_name
from realtime.feeds.events import append
from realtime.feeds.models import Feed, FeedEvent
from realtime.protocol import encode

MAX_TEXT = 500  # characters
is_http = URLValidator(schemes=["http", "https"])


def validate_url(url: str) -> None:
    """Raise ValidationError unless the URL is a path of this site, or an http or https URL."""
    is_path = url.startswith("/") and url_has_allowed_host_and_scheme(url, allowed_hosts=None)
    if not is_path:
        is_http(url)


class Notification(models.Model):
    """Notification of one user. It is unread until the user opens it or marks it as read."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="+",
        db_index=False,
        verbose_name=_("user"),
    )
    text = models.CharField(
        _("text"),
        max_length=MAX_TEXT,
        validators=[ProhibitNullCharactersValidator(), RegexValidator(r"\S")],
    )
    url = models.CharField(_("URL"), max_length=2000, blank=True, validators=[validate_url])
    created_at = models.DateTimeField(_("created at"), default=timezone.now, db_index=True)
    read_at = models.DateTimeField(_("read at"), null=True, editable=False)
    mailed_at = models.DateTimeField(_("mailed at"), null=True, editable=False)

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        indexes = (
            models.Index(fields=("user", "id"), name="notification_user"),
            models.Index(
                fields=("user",),
                condition=models.Q(read_at__isnull=True),
                name="notification_unread",
            ),
            models.Index(
                fields=("created_at",),
                condition=models.Q(read_at__isnull=True, mailed_at__isnull=True),
                name="notification_unmailed",
            ),
        )

    def __str__(self) -> str:
        return f"{self.text:.40}"

    def get_absolute_url(self) -> str:
        return reverse("notification", args=[self.pk])

    @classmethod
    def expired(cls) -> models.QuerySet["Notification"]:
        """Return those older than NOTIFICATIONS_DAYS, for `manage.py cleanup` to delete."""
        oldest = timezone.now() - timedelta(days=settings.NOTIFICATIONS_DAYS)
        return cls.objects.filter(created_at__lt=oldest).order_by("created_at")

    def event(self) -> dict[str, Any]:
        """Return the event that the user's pages get."""
        at = self.created_at.astimezone(UTC)
        return {
            "type": "notification",
            "id": self.pk,
            "text": self.text,
            "url": self.url,
            "at": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
        }


def feed_of(user_id: Any) -> str:
    """Return the name of a user's feed, and of its group."""
    return group_name("notifications", str(user_id))


def unread_of(user_id: Any) -> models.QuerySet[Notification]:
    """Return the unread notifications of a user."""
    return Notification.objects.filter(user=user_id, read_at=None)


def count_unread(user_id: Any) -> tuple[int, int]:
    """Return the number of the latest event of the user's feed, and the unread ones at that time.

    One statement reads both, so that later events change exactly this count.
    """
    unread = unread_of(user_id).values("user").annotate(count=models.Count("pk")).values("count")
    feeds = Feed.objects.filter(name=feed_of(user_id))
    found = feeds.values_list("seq", Coalesce(models.Subquery(unread), 0)).first()
    return found or (0, 0)


def mark_read(user_id: Any, first: int, last: int) -> None:
    """Mark the unread notifications of a user from one id to another. Pages get one event."""
    with transaction.atomic():
        unread = unread_of(user_id).filter(pk__range=(first, last))
        if count := unread.update(read_at=timezone.now()):
            append(feed_of(user_id), {"type": "read", "first": first, "last": last, "count": count})


def withdraw(notifications: models.QuerySet[Notification]) -> None:
    """Delete notifications, and their texts in the feeds. Pages count them as read."""
    with transaction.atomic():
        for one in notifications.order_by("user", "pk"):
            mark_read(one.user_id, one.pk, one.pk)
            start = encode({"type": "notification", "id": one.pk}).removesuffix("}") + ","
            read = {"type": "read", "first": one.pk, "last": one.pk, "count": 0}
            events = FeedEvent.objects.filter(feed__name=feed_of(one.user_id))
            events.filter(body__startswith=start).update(body=encode(read))
        notifications.delete()
