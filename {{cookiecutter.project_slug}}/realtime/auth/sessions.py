"""Authentication by Django's session."""

import hashlib

from django.contrib.auth import get_user
from django.http import HttpRequest

from realtime.auth import Identity
from realtime.types import Scope


def authenticate(scope: Scope) -> Identity | None:
    """Return the user that Django finds for the session, None for a stranger."""
    request = HttpRequest()
    request.session = session = scope["session"]
    # After a change of SECRET_KEY, Django gives the session a new key. The handshake cannot send
    # its cookie to the browser, so keep the key until the next page.
    session.cycle_key = lambda: None
    try:
        user = get_user(request)
    finally:
        del session.cycle_key
    if not user.is_authenticated:
        return None
    return Identity(user, credential_of_session(session.session_key))


def credential_of_session(session_key: str | None) -> str:
    """Identify a session's sockets without exposing the session key."""
    return hashlib.sha256(str(session_key).encode()).hexdigest()
