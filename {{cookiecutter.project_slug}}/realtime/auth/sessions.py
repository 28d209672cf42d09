"""Authentication by Django's session."""

import hashlib
from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user
from django.http import HttpRequest
from django.utils import timezone

from realtime.auth import Identity
from realtime.conf import session_store
from realtime.lookups import one_of
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
    return identity_of_session(user, session)


def identity_of_session(user: Any, session: Any) -> Identity:
    """Return the identity of a user who signed in by a session. A new session has no key yet."""
    key = session.session_key
    credential = None if key is None else credential_of_session(key)
    return Identity(user, credential, key=key, find_valid=find_valid_sessions)


def find_valid_sessions(session_keys: Collection[str]) -> Collection[str]:
    """Return the keys of the sessions that exist and have not expired."""
    store = session_store()
    if not hasattr(store, "get_model_class"):  # no rows, so read one after the other
        return [key for key in session_keys if store(key).load()]
    sessions = store.get_model_class().objects.filter(
        one_of("session_key", session_keys), expire_date__gt=timezone.now()
    )
    # Almost always all are valid, and their number is cheaper than a thousand keys.
    if sessions.count() == len(session_keys):
        return session_keys
    return set(sessions.values_list("session_key", flat=True))


def credential_of_session(session_key: str | None) -> str:
    """Identify a session's sockets without exposing the session key."""
    return hashlib.sha256(str(session_key).encode()).hexdigest()
