"""Guests, and what they are called."""

import pytest
from django.conf import settings
from django.test import Client

from tests.conftest import Visit

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_guest_keeps_a_name() -> None:
    """The first page gives it, the session cookie keeps it."""
    client = Client()
    assert client.get("/").status_code == 200
    name = client.session["guest"]
    assert client.get("/chat/lobby/").status_code == 200
    assert client.session["guest"] == name


async def test_a_page_and_its_socket_know_the_same_guest(visit: Visit) -> None:
    """The socket reads the cookie that the page got."""
    ann = await visit("/ws/chat/lobby/", "ann")
    assert (await ann.receive())["user"] == "ann"


async def test_a_client_without_a_cookie_gets_a_name(visit: Visit) -> None:
    """A program can talk too; each connection is a guest of its own."""
    one, two = await visit("/ws/chat/lobby/", None), await visit("/ws/chat/lobby/", None)
    names = {(await one.receive())["user"], (await two.receive())["user"]}
    assert len(names) == 2
    assert all(name.startswith("guest-") for name in names)


async def test_a_forged_cookie_is_worth_nothing(visit: Visit) -> None:
    """Nobody speaks under another guest's name."""
    forged = f"{settings.SESSION_COOKIE_NAME}=ann:forged".encode()
    ann = await visit("/ws/chat/lobby/", None, headers=[(b"cookie", forged)])
    assert (await ann.receive())["user"].startswith("guest-")
