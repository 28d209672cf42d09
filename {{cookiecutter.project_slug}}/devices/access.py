"""Access to devices. All users of the site see them."""

from typing import Any


def may_command(user: Any) -> bool:
    """Return whether a user may send commands: staff may, and a guest may not."""
    return getattr(user, "is_staff", False)
