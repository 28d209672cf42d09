"""People who are signed in, by a token."""

from django.contrib.auth.models import User
from django.test import Client

from accounts.models import issue_token


def token_of(name: str) -> str:
    """A new token of a user."""
    user, _ = User.objects.get_or_create(username=name)
    return issue_token(user)


def client_of(name: str) -> Client:
    """The program of a user, which sends a token."""
    return Client(headers={"Authorization": f"Bearer {token_of(name)}"})


def handshake_headers(name: str) -> list[tuple[bytes, bytes]]:
    """What that program sends when it opens a socket."""
    return [(b"authorization", f"Bearer {token_of(name)}".encode())]
