"""People who are signed in, by a session."""

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client


def client_of(name: str) -> Client:
    """The browser of a user, signed in."""
    user, _ = User.objects.get_or_create(username=name)
    client = Client()
    client.force_login(user)
    return client


def handshake_headers(name: str) -> list[tuple[bytes, bytes]]:
    """What that browser sends when it opens a socket."""
    return headers_of(client_of(name))


def headers_of(client: Client) -> list[tuple[bytes, bytes]]:
    """What a browser sends to say who is there."""
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    return [(b"cookie", f"{cookie.key}={cookie.value}".encode())]
