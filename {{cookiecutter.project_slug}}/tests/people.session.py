"""Users of the tests, signed in by a session."""

from django.conf import settings
from django.test import Client

from accounts.models import User


def user_of(name: str) -> User:
    """Return the user of that name, a new one the first time."""
    email = f"{name}@example.com"
    return User.objects.get_or_create(username=name, defaults={"email": email})[0]


def login_of(name: str) -> str:
    """Return the text by which a user logs in, beside the password."""
    return name


def client_of(name: str) -> Client:
    """Return the browser of a user, signed in."""
    client = Client()
    client.force_login(user_of(name))
    return client


def handshake_headers(name: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of that browser when it opens a socket."""
    return headers_of(client_of(name))


def headers_of(client: Client) -> list[tuple[bytes, bytes]]:
    """Return the session cookie of a browser as headers."""
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    return [(b"cookie", f"{cookie.key}={cookie.value}".encode())]


def id_of(name: str) -> str:
    """Return the id of a user, as events carry it."""
    return str(user_of(name).pk)
