"""Signing up, in and out, tokens and tickets, and who may connect."""

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.test.client import MULTIPART_CONTENT
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Ticket, Token, issue_ticket
from conftest import Visit, wait_for_users
from realtime.process import get_process
from realtime.testing import SocketClient
from tests.people import client_of, handshake_headers, token_of

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


@pytest.mark.parametrize("content_type", [MULTIPART_CONTENT, "application/json"])
def test_a_name_and_a_password_give_a_token(content_type: str) -> None:
    """Sent as a form or as JSON; the token opens pages, and is not stored."""
    User.objects.create_user("ann", password=PASSWORD)
    data = {"username": "ann", "password": PASSWORD}
    response = Client().post("/api/token/", data, content_type)
    token = response.json()["token"]
    assert Client(headers={"Authorization": f"Bearer {token}"}).get("/").status_code == 200
    assert Token.objects.get().digest != token


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"username": "ann", "password": "wrong"}', b'{"username": 1}']
)
def test_wrong_credentials_give_no_token(body: bytes) -> None:
    """Whatever is wrong with them, the answer is 401."""
    User.objects.create_user("ann", password=PASSWORD)
    response = Client().post("/api/token/", body, "application/json")
    assert (response.status_code, Token.objects.count()) == (401, 0)


def test_a_token_can_be_revoked() -> None:
    """By its bearer; then it is as good as none."""
    client = client_of("ann")
    assert client.delete("/api/token/").status_code == 200
    response = client.get("/")
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")


def test_a_deactivated_users_token_is_worth_nothing() -> None:
    """Deactivating the user is enough."""
    client = client_of("ann")
    User.objects.update(is_active=False)
    assert client.get("/").status_code == 401


def test_the_admin_shows_tokens(admin_client: Client) -> None:
    """They can be revoked there, but not made."""
    token_of("ann")
    assert "ann" in admin_client.get("/admin/accounts/token/").content.decode()
    assert admin_client.get("/admin/accounts/token/add/").status_code == 403
    assert str(Token.objects.get()).startswith("ann since ")


async def test_a_token_may_come_as_a_subprotocol(visit: Visit) -> None:
    """For clients that cannot send headers; `bearer` is what gets selected."""
    token = await sync_to_async(token_of)("ann")
    ann = await visit(LOBBY, None, subprotocols=["bearer", token])
    assert (ann.answer["subprotocol"], (await ann.receive())["user"]) == ("bearer", "ann")


@pytest.mark.parametrize("subprotocols", [["bearer", "wrong"], ["bearer"], ["chat"]])
async def test_other_subprotocols_open_nothing(visit: Visit, subprotocols: list[str]) -> None:
    """They are closed as strangers are."""
    stranger = await visit(LOBBY, None, subprotocols=subprotocols)
    assert await stranger.close_code() == 4401


async def test_a_ticket_opens_one_socket(visit: Visit) -> None:
    """A page gets it with its session and uses it at once; the second use is refused."""
    client = await sync_to_async(session_client)()
    response = await sync_to_async(client.post)("/api/ticket/")
    url = f"{LOBBY}?ticket={response.json()['ticket']}"
    ann = await visit(url, None)
    assert (await ann.receive())["user"] == "ann"
    assert await (await visit(url, None)).close_code() == 4401


def session_client() -> Client:
    client = Client()
    client.force_login(User.objects.create_user("ann"))
    return client


async def test_a_ticket_expires(visit: Visit) -> None:
    """After 30 seconds it opens nothing, and is gone."""
    user = await User.objects.acreate(username="ann")
    ticket = await sync_to_async(issue_ticket)(user, "session")
    stored = await Ticket.objects.aget()
    assert stored.expires_at - timezone.now() <= timedelta(seconds=30)
    await Ticket.objects.aupdate(expires_at=timezone.now())
    stranger = await visit(f"{LOBBY}?ticket={ticket}", None)
    assert await stranger.close_code() == 4401
    await sync_to_async(issue_ticket)(user, "session")
    assert await Ticket.objects.acount() == 1


def test_expired_tickets_are_deleted() -> None:
    """The daily cleanup leaves those that are valid."""
    user = User.objects.create_user("ann")
    issue_ticket(user, "session")
    Ticket.objects.update(expires_at=timezone.now())
    valid = Ticket.objects.create(
        digest="x", user=user, expires_at=timezone.now() + timedelta(seconds=30)
    )
    call_command("cleanup", verbosity=0)
    assert list(Ticket.objects.all()) == [valid]


def test_a_ticket_needs_a_login_and_a_page_of_ours() -> None:
    """Strangers are led to the login, and another site's form is refused."""
    assert Client().post("/api/ticket/").status_code == 302
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_user("ann"))
    assert browser.post("/api/ticket/").status_code == 403
    program = Client(enforce_csrf_checks=True)
    headers = {"Authorization": f"Bearer {token_of('ann')}"}
    assert program.post("/api/ticket/", headers=headers).status_code == 200


async def ticket_socket(visit: Visit, client: Client) -> SocketClient:
    """A socket opened as a page does, by a ticket for its session."""
    response = await sync_to_async(client.post)("/api/ticket/")
    return await visit(f"{LOBBY}?ticket={response.json()['ticket']}", None)


async def test_logging_out_closes_the_sockets_of_that_session(visit: Visit) -> None:
    """With 4403, and its tickets; the user's programs stay, and so do other people's."""
    browser = await sync_to_async(session_client)()
    tab = await ticket_socket(visit, browser)
    program, bob = await visit(LOBBY, "ann"), await visit(LOBBY, "bob")
    await wait_for_users(bob, "ann", "bob")
    await program.receive_until("welcome")
    unused = (await sync_to_async(browser.post)("/api/ticket/")).json()["ticket"]
    await sync_to_async(browser.post)("/accounts/logout/")
    assert await tab.close_code() == 4403
    assert await (await visit(f"{LOBBY}?ticket={unused}", None)).close_code() == 4401
    assert await program.receives_nothing()
    assert await bob.receives_nothing()


async def test_revoking_a_token_closes_its_sockets(visit: Visit) -> None:
    """Those that it opened itself, and those of the tickets it was given."""
    token = await sync_to_async(token_of)("ann")
    client = Client(headers={"Authorization": f"Bearer {token}"})
    program = await visit(LOBBY, None, subprotocols=["bearer", token])
    page, other = await ticket_socket(visit, client), await visit(LOBBY, "ann")
    await other.receive_until("welcome")
    await sync_to_async(client.delete)("/api/token/")
    assert await program.close_code() == 4403
    assert await page.close_code() == 4403
    assert await other.receives_nothing()


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
