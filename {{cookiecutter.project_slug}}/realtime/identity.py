"""Identity of a user: the key that the engine knows, and the name that others see."""

from functools import cache
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Model


def user_id(user: Any) -> str:
    """Return the primary key as text, or "" for a user without one."""
    key = getattr(user, "pk", None)
    return "" if key is None else str(key)


def display_name(user: Any) -> str:
    """Return the user's `display_name`, or the user name if there is none."""
    name = getattr(user, "display_name", "")
    return str(name or (user.get_username() if hasattr(user, "get_username") else user))


def row_of(user: Any) -> tuple[Any, ...] | None:
    """Return what `row_fields` of a stored user hold, or None for a user without a row."""
    if not isinstance(user, Model):  # such as a guest, whose project may have no users
        return None
    model = get_user_model()
    if not isinstance(user, model) or user._state.adding:
        return None
    return tuple(getattr(user, name) for name in row_fields(model))


@cache
def row_fields(model: Any) -> list[str]:
    """Return the names of the primary key, and of the fields whose change ends a sign-in."""
    known = {field.name for field in model._meta.concrete_fields}
    return ["pk", *(name for name in ("password", "is_active") if name in known)]
