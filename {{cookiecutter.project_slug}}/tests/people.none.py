"""People who are guests, and keep their names."""

from django.conf import settings
from django.test import Client


def client_of(name: str) -> Client:
    """The browser of a guest."""
    client = Client()
    session = client.session
    session["guest"] = name
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = str(session.session_key)
    return client


def handshake_headers(name: str) -> list[tuple[bytes, bytes]]:
    """What that browser sends when it opens a socket."""
    cookie = client_of(name).cookies[settings.SESSION_COOKIE_NAME]
    return [(b"cookie", f"{cookie.key}={cookie.value}".encode())]
