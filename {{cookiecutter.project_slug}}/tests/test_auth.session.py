"""Signing up, in and out, and who may connect."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from conftest import Visit, wait_for_users
from realtime.process import get_process
from tests.people import client_of, handshake_headers, headers_of

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"
LOBBY = "/ws/chat/lobby/"


def sign_up(client: Client, query: str = "") -> tuple[int, str | None]:
    data = {"username": "ann", "password1": PASSWORD, "password2": PASSWORD}
    response = client.post(f"/accounts/signup/{query}", data)
    return response.status_code, response.get("Location")


def test_a_visitor_signs_up_and_is_signed_in(settings: Settings) -> None:
    """After sign-up the first page opens."""
    settings.SIGNUP_OPEN = True
    client = Client()
    assert client.get("/accounts/signup/").status_code == 200
    assert sign_up(client) == (302, "/")
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("query", "destination"),
    [("?next=/chat/lobby/", "/chat/lobby/"), ("?next=https://example.com/", "/")],
)
def test_sign_up_leads_back(settings: Settings, query: str, destination: str) -> None:
    """Who was sent to sign in by a page gets there, but never to another site."""
    settings.SIGNUP_OPEN = True
    login = Client().get(f"/accounts/login/{query}").content.decode()
    assert f'href="/accounts/signup/?{quote(query[1:], safe="=")}"' in login
    assert sign_up(Client(), query) == (302, destination)


def test_sign_up_may_be_closed(settings: Settings) -> None:
    """It is then as if it were not there."""
    settings.SIGNUP_OPEN = False
    assert sign_up(Client()) == (404, None)
    assert User.objects.count() == 0


def test_pages_need_a_login() -> None:
    """A stranger is led to the login, and back after it."""
    User.objects.create_user("ann", password=PASSWORD)
    client = Client()
    assert client.get("/chat/lobby/")["Location"] == "/accounts/login/?next=/chat/lobby/"
    response = client.post(
        "/accounts/login/?next=/chat/lobby/", {"username": "ann", "password": PASSWORD}
    )
    assert response["Location"] == "/chat/lobby/"
    assert client.post("/accounts/logout/")["Location"] == "/"
    assert client.get("/").status_code == 302


def test_sign_ins_are_security_events(caplog: pytest.LogCaptureFixture) -> None:
    """Failures name an account only if it exists."""
    User.objects.create_user("ann", password=PASSWORD)
    client = Client()
    with caplog.at_level("INFO", "security"):
        for name, password in (("bob", PASSWORD), ("ann", "wrong"), ("ann", PASSWORD)):
            client.post("/accounts/login/", {"username": name, "password": password})
        client.post("/accounts/logout/")
        User.objects.get().delete()
    events = [record.getMessage() for record in caplog.records if record.name == "security"]
    assert events == [
        "event=sign_in_failed account=-",
        "event=sign_in_failed account=ann",
        "event=sign_in",
        "event=sign_out",
        "event=access_revoked account=ann",
    ]


async def test_a_stranger_is_told_to_sign_in(visit: Visit) -> None:
    """The socket opens and closes with 4401, so that the client learns why."""
    stranger = await visit(LOBBY, None)
    assert (stranger.connected, await stranger.close_code()) == (True, 4401)


async def test_a_deactivated_user_is_a_stranger(visit: Visit) -> None:
    """A session that was good does not help."""
    headers = await sync_to_async(handshake_headers)("ann")
    await User.objects.aupdate(is_active=False)
    ann = await visit(LOBBY, None, headers=headers)
    assert await ann.close_code() == 4401


async def test_logging_out_closes_the_sockets_of_that_session(visit: Visit) -> None:
    """With 4403; those of the user's other sessions stay, and so do other people's."""
    browser, phone = [await sync_to_async(client_of)("ann") for _ in range(2)]
    tab, app = [await visit(LOBBY, None, headers=headers_of(client)) for client in (browser, phone)]
    bob = await visit(LOBBY, "bob")
    await wait_for_users(bob, "ann", "bob")
    await app.receive_until("welcome")
    await sync_to_async(browser.post)("/accounts/logout/")
    assert await tab.close_code() == 4403
    assert await app.receives_nothing()
    assert await bob.receives_nothing()


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def change_password(user: User) -> None:
    user.set_password("another horse battery")
    user.save()


@pytest.mark.parametrize("change", [deactivate, change_password, User.delete])
async def test_sockets_follow_their_user(visit: Visit, change: Callable[[User], object]) -> None:
    """Who is deactivated, deleted or changes the password is signed out everywhere."""
    ann, bob = await visit(LOBBY, "ann"), await visit(LOBBY, "bob")
    await bob.receive_until("welcome")
    await sync_to_async(change)(await User.objects.aget(username="ann"))
    assert await ann.close_code() == 4403
    await wait_for_users(bob, "bob")


async def test_other_changes_of_a_user_close_nothing(visit: Visit) -> None:
    """Neither a new e-mail address nor a login elsewhere."""
    ann = await visit(LOBBY, "ann")
    await ann.receive_until("welcome")
    user = await User.objects.aget(username="ann")
    user.email = "ann@example.com"
    await user.asave()
    await sync_to_async(client_of)("ann")
    assert await ann.receives_nothing()


async def test_who_signs_out_while_connecting_is_signed_out(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sign-in was looked up before, and the socket opens after."""
    process = get_process()
    acquire = process.connection_limit.acquire

    async def sign_out_first(user: str, connection: str) -> bool:
        process.bus.on_disconnect(user, None)
        return await acquire(user, connection)

    monkeypatch.setattr(process.connection_limit, "acquire", sign_out_first)
    ann = await visit(LOBBY, "ann")
    assert (ann.connected, await ann.close_code()) == (True, 4403)
    monkeypatch.undo()
    assert (await (await visit(LOBBY, "ann")).receive())["type"] == "welcome"
