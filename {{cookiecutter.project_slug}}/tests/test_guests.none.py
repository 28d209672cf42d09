"""Guests, their ids and names."""

import pytest
from django.apps import apps
from django.conf import settings
from django.test import Client

from conftest import Visit

pytestmark = pytest.mark.django_db(transaction=True)


def test_there_is_no_admin() -> None:
    """There is nothing to sign in to, so no password can be guessed."""
    assert not {"admin", "auth"} & {app.label for app in apps.get_app_configs()}
    assert Client().get("/admin/login/").status_code == 404


def test_a_guest_keeps_the_id_and_the_name() -> None:
    """The first page gives them, and the session cookie keeps them."""
    client = Client()
    pages = [client.get("/"), client.get("/?again")]
    ids = {page.wsgi_request.guest.pk for page in pages}  # type: ignore[attr-defined]
    assert ids == {client.session["guest_id"]}
    assert settings.SESSION_COOKIE_NAME not in pages[1].cookies
    name = pages[0].wsgi_request.guest.display_name  # type: ignore[attr-defined]
    assert all(f">{name}</span>" in page.content.decode() for page in pages)


async def test_a_page_and_its_socket_know_the_same_guest(visit: Visit) -> None:
    """The socket reads the cookie that the page got."""
    ann = await visit("/ws/lobby/", "ann")
    assert (await ann.receive())["user"] == "ann"


async def test_a_client_without_a_cookie_gets_a_name(visit: Visit) -> None:
    """Without a cookie, each connection is a new guest."""
    one, two = await visit("/ws/lobby/", None), await visit("/ws/lobby/", None)
    names = {(await one.receive())["user"], (await two.receive())["user"]}
    assert len(names) == 2
    assert all(name.startswith("guest-") for name in names)


async def test_a_forged_cookie_is_invalid(visit: Visit) -> None:
    """A guest cannot write under the name of another one."""
    forged = f"{settings.SESSION_COOKIE_NAME}=ann:forged".encode()
    ann = await visit("/ws/lobby/", None, headers=[(b"cookie", forged)])
    assert (await ann.receive())["user"].startswith("guest-")
