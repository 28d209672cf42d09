"""The first page of a stranger."""

from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from chat.tests.helpers import store
from tests.people import login_of

PASSWORD = "correct horse battery"

pytestmark = pytest.mark.django_db


def page_of(client: Client, **query: Any) -> str:
    return client.get("/", query).content.decode()


def test_stranger_sees_an_example_instead_of_the_rooms() -> None:
    """Neither the name of a room nor a message of the site is public."""
    store("between us", room="attic")
    page = page_of(Client())
    assert "Example of a room" in page
    assert [text for text in ("attic", "between us", "Find a room") if text in page] == []


@pytest.mark.parametrize(("is_open", "ways"), [(True, ["Sign up", "Log in"]), (False, ["Log in"])])
def test_stranger_sees_the_ways_in(settings: Settings, is_open: bool, ways: list[str]) -> None:
    """The link to sign up is there while sign-up is open."""
    settings.SIGNUP_OPEN = is_open
    page = page_of(Client()).partition('class="ways-in"')[2]
    assert [way for way in ("Sign up", "Log in") if f">{way}</a>" in page] == ways


def test_login_leads_to_the_room_of_the_link() -> None:
    """A link of a search or a room by name still works after the login."""
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    client = Client()
    path = "/?room=tea"
    login = f"/accounts/login/?next={quote(path)}"
    assert f'href="{login}"' in page_of(client, room="tea")
    answer = client.post(login, {"username": login_of("ann"), "password": PASSWORD}, follow=True)
    assert answer.redirect_chain == [(path, 302), ("/chat/tea/", 302)]
