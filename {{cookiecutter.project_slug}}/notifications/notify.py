"""Notifications to users, from any Django code, sync or async."""

from collections.abc import Iterable
from typing import Any

from channels.db import database_sync_to_async
from django.db import transaction
from django.db.models import Model

from notifications.models import Notification, feed_of
from realtime.feeds.events import append_many


def notify(user: Any, text: str, url: str = "") -> Notification:
    """Store a notification of a user. Its pages show it once the transaction is committed.

    `user` is a user or its primary key, `url` a path of this site or an http or https URL. Raise
    ValidationError if the text or the URL is invalid.

    Call it at the end of a transaction, because the user's other notifications wait for the commit.
    Two transactions that notify the same users in different orders can deadlock: pass all users of
    one to `notify_many`.
    """
    return notify_many([user], text, url)[0]


async def anotify(user: Any, text: str, url: str = "") -> Notification:
    """Store a notification of a user as `notify` does, from async code."""
    return await database_sync_to_async(notify)(user, text, url)


def notify_many(users: Iterable[Any], text: str, url: str = "") -> list[Notification]:
    """Store a notification for each of the users, in one transaction and few queries."""
    Notification(text=text, url=url).clean_fields(exclude={"user"})
    keys = [user.pk if isinstance(user, Model) else user for user in users]
    with transaction.atomic():
        notifications = Notification.objects.bulk_create(
            Notification(user_id=key, text=text, url=url) for key in keys
        )
        append_many((feed_of(one.user_id), one.event()) for one in notifications)
    return notifications
