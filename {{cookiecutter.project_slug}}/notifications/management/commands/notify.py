"""Notification of users from the command line."""

from itertools import batched
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from notifications.notify import notify_many

BATCH = 1000  # users in one transaction


class Command(BaseCommand):
    """Command that notifies one user, or all active ones."""

    help = "Notify a user, or all active users: notify 'The report is ready.' --user ann"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("text")
        parser.add_argument("--url", default="", help="path of this site, or an http or https URL")
        users = parser.add_mutually_exclusive_group(required=True)
        users.add_argument("--user", help="what the user logs in with")
        users.add_argument("--all", action="store_true", help="notify all active users")

    def handle(self, *, text: str, url: str, user: str | None, **options: Any) -> None:
        model = get_user_model()
        users = model._default_manager.filter(is_active=True)
        if user is not None:
            users = users.filter(**{model.USERNAME_FIELD: user})
        count = 0
        try:
            for keys in batched(users.values_list("pk", flat=True).iterator(), BATCH):
                count += len(notify_many(keys, text, url))
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        if not count and user is not None:
            raise CommandError(f"There is no active user {user!r}.")
        self.stdout.write(f"Notified users: {count}.")
