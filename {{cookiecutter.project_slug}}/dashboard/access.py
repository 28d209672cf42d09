"""Access to the dashboard."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model


def may_watch(user: Any) -> bool:
    """Return whether a user may watch: staff, or everybody with `DASHBOARD_PUBLIC`."""
    return settings.DASHBOARD_PUBLIC or getattr(user, "is_staff", False)


def key_of(user: Any) -> Any:
    """Return the key that `find_staff` checks while the user watches, or None for none."""
    return None if settings.DASHBOARD_PUBLIC else user.pk


def find_staff(keys: Iterable[Any]) -> set[Any]:
    """Return the keys of users who are staff."""
    staff = get_user_model().objects.filter(pk__in=keys, is_active=True, is_staff=True)
    return set(staff.values_list("pk", flat=True))
