"""Notifications about what happens elsewhere in the site. Add receivers of your own here."""

from typing import Any

from django.conf import settings
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.urls import reverse
from django.utils.translation import gettext

from notifications.models import feed_of
from notifications.notify import notify
from realtime.feeds.models import Feed
from realtime.identity import display_name


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def on_new_account(instance: Any, created: bool, raw: bool, **_: Any) -> None:
    """Welcome a new user."""
    if created and not raw:  # not while fixtures are loaded
        welcome = gettext("Welcome, %(name)s!") % {"name": display_name(instance)}
        notify(instance, welcome, reverse("home"))


@receiver(post_delete, sender=settings.AUTH_USER_MODEL)
def on_deleted_account(instance: Any, **_: Any) -> None:
    """Delete the events of a deleted user, which have the texts of the notifications."""
    Feed.objects.filter(name=feed_of(instance.pk)).delete()
