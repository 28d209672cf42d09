"""Users of the tests, signed in by a token."""

from django.test import Client

from accounts.models import User
from accounts.tokens import issue_token


def user_of(name: str) -> User:
    """Return the user of that name, a new one the first time."""
    email = f"{name}@example.com"
    return User.objects.get_or_create(username=name, defaults={"email": email})[0]


def login_of(name: str) -> str:
    """Return the text by which a user logs in, beside the password."""
    return name


def token_of(name: str) -> str:
    """Return a new token of a user."""
    return issue_token(user_of(name), "A test")[0]


def client_of(name: str) -> Client:
    """Return the program of a user, which sends a token."""
    return Client(headers={"Authorization": f"Bearer {token_of(name)}"})


def handshake_headers(name: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of that program when it opens a socket."""
    return [(b"authorization", f"Bearer {token_of(name)}".encode())]


def id_of(name: str) -> str:
    """Return the id of a user, as events carry it."""
    return str(user_of(name).pk)
