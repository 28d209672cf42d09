"""Deletion of what has expired; to be run daily."""

import time
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db.models import QuerySet
from django.utils import timezone

from realtime.conf import session_store

BATCH = 1000  # rows in one transaction


class Command(BaseCommand):
    """Command that deletes expired sessions, and the rows that any model's `expired()` returns."""

    help = "Delete expired sessions, and rows that a model's expired() returns. Run it daily."

    def handle(self, **options: Any) -> None:
        self.delete_sessions()
        for model in apps.get_models():
            if expired := getattr(model, "expired", None):
                count = delete_in_batches(expired())
                self.stdout.write(f"Deleted {count} {model._meta.verbose_name_plural}.")

    def delete_sessions(self) -> None:
        """Delete expired sessions in batches.

        `clearsessions` reads all of them at once, because the engine has a receiver for each.
        """
        store = session_store()
        if hasattr(store, "get_model_class"):
            expired = store.get_model_class().objects.filter(expire_date__lt=timezone.now())
            self.stdout.write(f"Deleted {delete_in_batches(expired)} sessions.")
        else:
            store.clear_expired()


def delete_in_batches(rows: QuerySet[Any]) -> int:
    """Delete the rows in short transactions, and return their number.

    A pause follows each of them, as long as it took. SQLite has one writer at a time, and those
    that wait only look now and then whether it is their turn.
    """
    count = 0
    while keys := list(rows.values_list("pk", flat=True)[:BATCH]):
        start = time.monotonic()
        rows.model._default_manager.filter(pk__in=keys).delete()
        count += len(keys)
        time.sleep(time.monotonic() - start)
    return count
