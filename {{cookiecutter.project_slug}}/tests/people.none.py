"""Guests of the tests, each known by a name."""

from django.conf import settings
from django.test import Client


def client_of(name: str) -> Client:
    """Return the browser of a guest."""
    client = Client()
    session = client.session
    session["guest_id"] = id_of(name)
    session["guest_name"] = name
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = str(session.session_key)
    return client


def handshake_headers(name: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of that browser when it opens a socket."""
    cookie = client_of(name).cookies[settings.SESSION_COOKIE_NAME]
    return [(b"cookie", f"{cookie.key}={cookie.value}".encode())]


def id_of(name: str) -> str:
    """Return the id of a guest, as events carry it."""
    return f"guest-{name}"
