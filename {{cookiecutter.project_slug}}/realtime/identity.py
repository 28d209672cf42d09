"""Identity of a user: the key that the engine knows, and the name that others see."""

from collections.abc import Callable, Collection
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Model

type FindValid = Callable[[Collection[Any]], Collection[Any]]


@dataclass(frozen=True)
class Identity:
    """User of a connection, with the conditions that close it.

    `credential` names the session or token of the user without exposing it, so that
    `disconnect_credential` closes its sockets. `subprotocol` is the one that carried it. The socket
    is closed at `expires_at`. Each beat `find_valid` gets up to 1,000 values of `key`, in a thread.
    Sockets whose key it does not return are closed. One call serves all connections with the same
    function, so name a function of a module. `unforgeable` is a credential that no page of another
    site can make a browser send. It outranks the Origin.
    """

    user: Any
    credential: str | None = None
    subprotocol: str | None = None
    _: KW_ONLY
    expires_at: datetime | None = None
    key: Any = None
    find_valid: FindValid | None = None
    unforgeable: bool = False

    def __post_init__(self) -> None:
        hash(self.key)  # raises here rather than in the look-up of many


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
