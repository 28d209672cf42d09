"""Authentication by Django's session."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from copy import copy
from typing import Any

from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user,
    get_user_model,
    load_backend,
)
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from realtime.conf import session_store, settings
from realtime.identity import Identity
from realtime.lookups import one_of
from realtime.protocol import is_storable
from realtime.types import Scope


def authenticate(scope: Scope) -> Identity | None:
    """Return the user that Django finds for the session, None for a stranger."""
    session = scope["session"]
    user = scope.pop("loaded_user", None) or find_user(session)
    return identity_of_session(user, session) if user.is_authenticated else None


def find_user(session: Any) -> Any:
    """Return what Django's `get_user` returns for a request with the session."""
    request = HttpRequest()
    request.session = session
    # After a change of SECRET_KEY, Django gives the session a new key. The handshake cannot send
    # its cookie to the browser, so keep the key until the next page.
    session.cycle_key = lambda: None
    try:
        return get_user(request)
    finally:
        del session.cycle_key


def are_sessions_rows() -> bool:
    """Return whether sessions are rows that Django's own methods read."""
    store: Any = session_store()
    methods = ("load", "_get_session_from_db")
    return all(getattr(store, name, None) is getattr(SessionStore, name) for name in methods)


def are_users_rows() -> bool:
    """Return whether the users of sessions are rows that Django's own method reads."""
    from django.contrib.auth.backends import ModelBackend  # needs the models

    backends: list[Any] = [load_backend(path) for path in settings.AUTHENTICATION_BACKENDS]
    find = ModelBackend.get_user
    return all(getattr(type(backend), "get_user", None) is find for backend in backends)


def load_sessions(scopes: Sequence[Scope]) -> None:
    """Load the sessions of handshakes in one query."""
    sessions: defaultdict[str, list[Any]] = defaultdict(list)
    for scope in scopes:
        if key := scope["session"].session_key:
            sessions[key].append(scope["session"])
    keys = list(filter(is_storable, sessions))
    if keys:
        model = session_store().get_model_class()
        rows = model.objects.filter(one_of("session_key", keys), expire_date__gt=timezone.now())
        for key, data in rows.values_list("session_key", "session_data"):
            for session in sessions.pop(key):
                session._session_cache = session.decode(data)
    for missing in sessions.values():
        for session in missing:
            session._session_key, session._session_cache = None, {}


def load_users(scopes: Sequence[Scope]) -> None:
    """Load the users of loaded sessions in one query."""
    waiting: defaultdict[Any, list[Scope]] = defaultdict(list)
    for scope in scopes:
        if SESSION_KEY in scope["session"]:
            with suppress(ValidationError):  # a session of another user model
                key = get_user_model()._meta.pk.to_python(scope["session"][SESSION_KEY])
                waiting[key].append(scope)
    if waiting:
        for user in get_user_model()._default_manager.filter(one_of("pk", waiting)):
            for scope in waiting[user.pk]:
                if is_valid(user, scope["session"]):
                    scope["loaded_user"] = copy(user)  # sockets share no object


def is_loaded(scope: Scope) -> bool:
    """Return whether `authenticate` needs no query, and does not change the session."""
    return "loaded_user" in scope or SESSION_KEY not in scope["session"]


def is_valid(user: Any, session: Any) -> bool:
    """Return whether Django's `get_user` would return this user."""
    path, stored = session.get(BACKEND_SESSION_KEY), session.get(HASH_SESSION_KEY)
    if path not in settings.AUTHENTICATION_BACKENDS or not stored:
        return False
    backend: Any = load_backend(path)
    return bool(
        backend.user_can_authenticate(user)
        and constant_time_compare(stored, user.get_session_auth_hash())
    )


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
