"""Users of the suite, signed in by Django's own sessions."""

from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client


def client_of(name):
    """Return the browser of a user, signed in."""
    user, _ = get_user_model().objects.get_or_create(username=name)
    client = Client()
    client.force_login(user)
    return client


def headers_of(client):
    """Return the headers that a browser sends when it opens a socket."""
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    return [(b"cookie", f"{cookie.key}={cookie.value}".encode())]


def headers_for(name):
    """Return the handshake headers of a signed-in user."""
    return headers_of(client_of(name))
