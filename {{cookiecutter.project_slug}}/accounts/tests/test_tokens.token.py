"""Tokens and tickets, and the sockets that end with them."""

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.test import Client
from django.test.client import MULTIPART_CONTENT
from django.utils import timezone

from accounts.models import Ticket, Token, User
from accounts.tokens import issue_ticket
from conftest import Visit
from realtime.testing import SocketClient
from tests.people import client_of, login_of, token_of, user_of

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"
LOBBY = "/ws/lobby/"


@pytest.mark.parametrize("content_type", [MULTIPART_CONTENT, "application/json"])
def test_a_name_and_a_password_give_a_token(content_type: str) -> None:
    """Sent as a form or as JSON; the token opens pages, and is not stored."""
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    data = {"username": login_of("ann"), "password": PASSWORD}
    response = Client().post("/api/token/", data, content_type)
    token = response.json()["token"]
    assert Client(headers={"Authorization": f"Bearer {token}"}).get("/").status_code == 200
    assert Token.objects.get().digest != token


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"username": "ann", "password": "wrong"}', b'{"username": 1}']
)
def test_wrong_credentials_give_no_token(body: bytes) -> None:
    """Whatever is wrong with them, the answer is 401."""
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    response = Client().post("/api/token/", body, "application/json")
    assert (response.status_code, Token.objects.count()) == (401, 0)


def test_a_token_can_be_revoked() -> None:
    """The bearer revokes it with DELETE, and it opens nothing more."""
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
    """The admin can revoke tokens, and cannot create them."""
    token_of("ann")
    assert "ann" in admin_client.get("/admin/accounts/token/").content.decode()
    assert admin_client.get("/admin/accounts/token/add/").status_code == 403
    assert str(Token.objects.get()).startswith(f"{login_of('ann')} since ")


@pytest.mark.parametrize(("before", "after"), [([], []), (["v2"], ["v1"])])
async def test_a_token_may_come_as_a_subprotocol(
    visit: Visit, before: list[str], after: list[str]
) -> None:
    """The pair `bearer, <token>` may stand among others. `bearer` is selected."""
    token = await sync_to_async(token_of)("ann")
    ann = await visit(LOBBY, None, subprotocols=[*before, "bearer", token, *after])
    assert (ann.answer["subprotocol"], (await ann.receive())["user"]) == ("bearer", "ann")


@pytest.mark.parametrize("subprotocols", [["bearer", "wrong"], ["bearer"], ["other"]])
async def test_other_subprotocols_open_nothing(visit: Visit, subprotocols: list[str]) -> None:
    """Sockets without a valid token are closed with 4401."""
    stranger = await visit(LOBBY, None, subprotocols=subprotocols)
    assert await stranger.close_code() == 4401


async def test_a_ticket_opens_one_socket(visit: Visit) -> None:
    """A page gets a ticket for its session. The second use is refused."""
    client = await sync_to_async(session_client)()
    response = await sync_to_async(client.post)("/api/ticket/")
    url = f"{LOBBY}?ticket={response.json()['ticket']}"
    ann = await visit(url, None)
    assert (await ann.receive())["user"] == "ann"
    assert await (await visit(url, None)).close_code() == 4401


def session_client() -> Client:
    client = Client()
    client.force_login(user_of("ann"))
    return client


async def test_a_ticket_expires(visit: Visit) -> None:
    """After 30 seconds it opens nothing, and is gone."""
    user = await sync_to_async(user_of)("ann")
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
    user = user_of("ann")
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
    browser.force_login(user_of("ann"))
    assert browser.post("/api/ticket/").status_code == 403
    program = Client(enforce_csrf_checks=True)
    headers = {"Authorization": f"Bearer {token_of('ann')}"}
    assert program.post("/api/ticket/", headers=headers).status_code == 200


async def ticket_socket(visit: Visit, client: Client) -> SocketClient:
    """Open a socket as a page does, by a ticket for its session."""
    response = await sync_to_async(client.post)("/api/ticket/")
    return await visit(f"{LOBBY}?ticket={response.json()['ticket']}", None)


async def test_logging_out_closes_the_sockets_of_that_session(visit: Visit) -> None:
    """The session's sockets and tickets close with 4403. Programs and other users stay."""
    browser = await sync_to_async(session_client)()
    tab = await ticket_socket(visit, browser)
    program, bob = await visit(LOBBY, "ann"), await visit(LOBBY, "bob")
    await bob.wait_for_users("ann", "bob")
    await program.receive_until("welcome")
    unused = (await sync_to_async(browser.post)("/api/ticket/")).json()["ticket"]
    await sync_to_async(browser.post)("/accounts/logout/")
    assert await tab.close_code() == 4403
    assert await (await visit(f"{LOBBY}?ticket={unused}", None)).close_code() == 4401
    assert await program.receives_nothing()
    assert await bob.receives_nothing()


async def test_revoking_a_token_closes_its_sockets(visit: Visit) -> None:
    """A revoked token closes its own sockets, and those of its tickets."""
    token = await sync_to_async(token_of)("ann")
    client = Client(headers={"Authorization": f"Bearer {token}"})
    program = await visit(LOBBY, None, subprotocols=["bearer", token])
    page, other = await ticket_socket(visit, client), await visit(LOBBY, "ann")
    await other.receive_until("welcome")
    await sync_to_async(client.delete)("/api/token/")
    assert await program.close_code() == 4403
    assert await page.close_code() == 4403
    assert await other.receives_nothing()
