"""Guests: visitors without an account, each with a random id in the session."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse

from realtime.identity import Identity
from realtime.middleware import is_for_operators
from realtime.types import Scope


@dataclass(frozen=True)
class Guest:
    """Visitor without an account, in the place of a user."""

    pk: str
    display_name: str
    is_active = True
    is_anonymous = True
    is_authenticated = False

    def __str__(self) -> str:
        return self.display_name

    def get_username(self) -> str:
        return self.display_name


def authenticate(scope: Scope) -> Identity:
    """Return the guest of the session. Without a session, each connection is a new guest."""
    return Identity(guest_of_session(scope["session"]))


def guest_of_session(session: Any) -> Guest:
    """Return the guest with the session's `guest_id` and `guest_name`, if it has them."""
    pk = session.get("guest_id") or new_id()
    return Guest(pk, session.get("guest_name") or pk[:14])


def new_id() -> str:
    """Return a random id, which no primary key of a user looks like."""
    return f"guest-{secrets.token_hex(16)}"


class GuestMiddleware:
    """Middleware that sets `request.guest`, and stores the id of a new one in the session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_for_operators(request):
            if "guest_id" not in request.session:
                request.session["guest_id"] = new_id()
            request.guest = guest_of_session(request.session)  # type: ignore[attr-defined]
        return self.get_response(request)
