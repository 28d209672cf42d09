"""Identity of a user: the key that the engine knows, and the name that others see."""

from typing import Any


def user_id(user: Any) -> str:
    """Return the primary key as text, or "" for a user without one."""
    key = getattr(user, "pk", None)
    return "" if key is None else str(key)


def display_name(user: Any) -> str:
    """Return the user's `display_name`, or the user name if there is none."""
    name = getattr(user, "display_name", "")
    return str(name or (user.get_username() if hasattr(user, "get_username") else user))
