"""Tokens and tickets, and the sockets that end with them."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_not_required
from django.core import serializers
from django.core.management import call_command
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.test.client import MULTIPART_CONTENT
from django.urls import include, path
from django.utils import timezone
from pytest_django import Settings

from accounts.middleware import BearerMiddleware, needs_session
from accounts.models import Ticket, Token
from accounts.tokens import find_token, issue_ticket, issue_token
from conftest import Visit
from realtime.process import get_process
from realtime.revalidation import revalidate
from realtime.testing import SocketClient
from tests.people import login_of, token_of, user_of

User = get_user_model()

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
LOBBY = "/ws/lobby/"
UNKNOWN = "site_unknown"
JWT = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"


def bearer(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


def session_client(name: str = "ann") -> Client:
    client = Client()
    client.force_login(user_of(name))
    return client


@pytest.mark.parametrize("content_type", [MULTIPART_CONTENT, "application/json"])
def test_a_name_and_a_password_give_a_token(content_type: str) -> None:
    """Sent as a form or as JSON; the token opens pages for 90 days, and is not stored."""
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    data = {"username": login_of("ann"), "password": PASSWORD, "name": "phone"}
    answer = Client().post("/api/token/", data, content_type).json()
    assert b"Log out" in bearer(answer["token"]).get("/").content
    stored = Token.objects.get()
    assert (stored.digest != answer["token"], stored.name) == (True, "phone")
    assert timedelta(days=89) < stored.expires_at - timezone.now() < timedelta(days=90)


@pytest.mark.parametrize(
    ("fields", "headers", "name"),
    [
        ({"name": "phone"}, {"User-Agent": "curl/8.5.0"}, "phone"),
        ({}, {"User-Agent": "curl/8.5.0"}, "curl/8.5.0"),
        ({}, {"User-Agent": "x" * 101}, "x" * 100),
        ({}, {}, "API"),
    ],
)
def test_a_token_has_a_name(fields: dict[str, str], headers: dict[str, str], name: str) -> None:
    """The list shows the name in the request, or that of the program that sent it."""
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    data = {"username": login_of("ann"), "password": PASSWORD, **fields}
    assert Client(headers=headers).post("/api/token/", data).status_code == 200
    assert Token.objects.get().name == name


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"username": "ann", "password": "wrong"}', 401),
        (b"{", 400),
        (b"[]", 400),
        (b"[" * 100_000, 400),
        (b'{"username": "ann"}', 400),
        (b'{"username": 1, "password": "wrong"}', 400),
        (b'{"username": "ann", "password": 1e999}', 400),
        (b'{"username": ["ann"], "password": "wrong"}', 400),
        (b'{"username": "\\ud800", "password": "wrong"}', 400),
        (b'{"username": "ann", "password": "\xed\xa0\x80"}', 400),
        (b'{"username": "ann\\u0000", "password": "wrong"}', 400),
        (b'{"username": "ann", "password": "wrong", "name": "%s"}' % (b"x" * 101), 400),
    ],
)
def test_wrong_credentials_give_no_token(body: bytes, status: int) -> None:
    """Wrong ones are answered with 401, and with 400 what is not a form of plain texts."""
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    response = Client().post("/api/token/", body, "application/json")
    assert (response.status_code, Token.objects.count()) == (status, 0)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_can_be_revoked(scheme: str) -> None:
    """The bearer revokes it with DELETE, and it opens nothing more."""
    client = Client(headers={"Authorization": f"{scheme} {token_of('ann')}"})
    assert client.delete("/api/token/").status_code == 200
    for response in (client.get("/"), client.delete("/api/token/")):
        assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("authorization", ["", "Basic YTpi", f"Bearer {JWT}", f"Bearer {UNKNOWN}"])
def test_deletion_needs_a_token(authorization: str) -> None:
    """A request that revokes nothing is answered with 401, whatever the session is."""
    client = session_client()
    token_of("ann")
    response = client.delete("/api/token/", headers={"Authorization": authorization})
    assert (response.status_code, Token.objects.count()) == (401, 1)


def deactivate() -> None:
    User.objects.update(is_active=False)


def set_password() -> None:
    user = user_of("ann")
    user.set_password("another horse battery")
    user.save()


def update_password() -> None:
    User.objects.update(password="another hash")


def let_expire() -> None:
    Token.objects.update(expires_at=timezone.now())


@pytest.mark.parametrize("end", [deactivate, set_password, update_password, let_expire])
async def test_a_token_ends(visit: Visit, end: Callable[[], None]) -> None:
    """A token and its unused tickets open nothing once it expires or its user changes."""
    token = await sync_to_async(token_of)("ann")
    client = bearer(token)
    ticket = (await sync_to_async(client.post)("/api/ticket/")).json()["ticket"]
    await sync_to_async(end)()
    if end is let_expire:
        await Ticket.objects.aupdate(expires_at=timezone.now())
    assert (await sync_to_async(client.get)("/")).status_code == 401
    assert await (await visit(LOBBY, None, subprotocols=["bearer", token])).close_code() == 4401
    assert await (await visit(f"{LOBBY}?ticket={ticket}", None)).close_code() == 4401


def test_a_ticket_never_outlives_its_token() -> None:
    """The ticket of a token that is about to expire ends with it."""
    soon = timezone.now() + timedelta(seconds=5)
    _, token = issue_token(user_of("ann"), "A test")
    token.expires_at = soon
    issue_ticket(token.user, token=token)
    assert Ticket.objects.get().expires_at == soon


@pytest.mark.parametrize("fallbacks", [True, False])
def test_tokens_survive_a_new_secret_key(settings: Settings, fallbacks: bool) -> None:
    """A token is kept if SECRET_KEY_FALLBACKS has the old key while the token is used."""
    token = token_of("ann")
    if fallbacks:
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "x" * 50
    assert (find_token(token) is not None) is fallbacks
    settings.SECRET_KEY_FALLBACKS = []
    assert (find_token(token) is not None) is fallbacks


def test_a_copied_token_is_not_reported_as_new(caplog: pytest.LogCaptureFixture) -> None:
    """`loaddata` stores the tokens of another database."""
    token_of("ann")
    copies = serializers.serialize("json", Token.objects.all())
    Token.objects.all()._raw_delete("default")
    caplog.clear()
    for copy in serializers.deserialize("json", copies):
        copy.save()
    assert (Token.objects.count(), caplog.text) == (1, "")


def test_the_last_use_is_recorded_once_a_minute() -> None:
    """A busy program costs one write per minute."""
    token = token_of("ann")

    def use() -> datetime:
        find_token(token)
        last = Token.objects.get().last_used_at
        assert last is not None
        return last

    first = use()
    assert use() == first
    Token.objects.update(last_used_at=first - timedelta(seconds=61))
    assert use() > first


def test_tokens_are_limited(settings: Settings) -> None:
    """Above TOKENS_PER_USER a new one is refused. Those that expired do not count."""
    settings.TOKENS_PER_USER = 2
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    data = {"username": login_of("ann"), "password": PASSWORD}
    responses = [Client().post("/api/token/", data) for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 409]
    assert responses[-1].json() == {"error": "You have 2 tokens. Revoke one of them first."}
    oldest = Token.objects.earliest("pk")
    Token.objects.filter(pk=oldest.pk).update(expires_at=timezone.now())
    assert Client().post("/api/token/", data).status_code == 200
    assert not Token.objects.filter(pk=oldest.pk).exists()


def test_a_token_does_not_open_the_admin() -> None:
    """The admin and the pages of accounts do not accept one. A session beside it works."""
    boss = User.objects.create_superuser("boss", "boss@example.com", PASSWORD)
    token, _ = issue_token(boss, "A test")
    client = bearer(token)
    for page in ("/admin/accounts/token/", "/accounts/tokens/", "/accounts/logout/"):
        response = client.post(page, {"name": "more"})
        assert "/login/" in response["Location"]
    assert b"Log out" in client.get("/").content
    assert client.get("/no/such/page/").status_code == 404
    client.force_login(boss)
    assert client.get("/admin/accounts/token/").status_code == 200


def test_pages_of_accounts_need_a_session_at_any_path(settings: Settings) -> None:
    """A path without the word accounts gives a token no more rights."""
    settings.ROOT_URLCONF = (path("members/", include("realtime.auth.urls")),)
    request = HttpRequest()
    request.path_info = "/members/password_change/"
    assert needs_session(request)


def test_other_authorization_is_passed_on() -> None:
    """Those of a proxy, or tokens of a library, change nothing about the session."""
    client = session_client()
    for authorization in ("Basic YTpi", f"Bearer {JWT}", "Bearer", ""):
        page = client.get("/", headers={"Authorization": authorization})
        assert b"Log out" in page.content


@pytest.mark.parametrize(
    ("authorization", "status"),
    [(f"Bearer {JWT}", 401), ("bearer x", 401), ("Bearer", 401), ("Basic YTpi", 302), ("", 302)],
)
def test_a_program_is_not_led_to_the_login(
    authorization: str, status: int, settings: Settings
) -> None:
    """A view that needs a user answers 401 to a token of another kind. Open views decide alone."""

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    settings.ROOT_URLCONF = (
        path("", include("realtime.auth.urls")),
        path("closed/", view),
        path("open/", login_not_required(lambda request: view(request))),
    )
    client = Client(headers={"Authorization": authorization})
    response = client.get("/closed/")
    challenge = "Bearer" if status == 401 else None
    assert (response.status_code, response.get("WWW-Authenticate")) == (status, challenge)
    assert client.get("/open/").status_code == 200


def test_an_address_that_got_a_token_is_trusted(settings: Settings) -> None:
    """Strangers who fail for a name do not make a program wait at its own address."""
    settings.REALTIME_MAX_NAME_FAILURES = 1
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    statuses = []
    for address, password in (
        ("192.0.2.1", PASSWORD),
        ("198.51.100.1", "wrong"),
        ("198.51.100.1", PASSWORD),
        ("192.0.2.1", PASSWORD),
    ):
        fields = {"username": login_of("ann"), "password": password}
        answer = Client(REMOTE_ADDR=address).post("/api/token/", fields)
        statuses.append(answer.status_code)
    assert statuses == [200, 401, 429, 200]


@pytest.mark.django_db(transaction=True)
async def test_async_views_see_the_owner() -> None:
    """`request.auser()` is the owner of the token, like `request.user`."""
    requests: list[HttpRequest] = []

    def view(request: HttpRequest) -> HttpResponse:
        requests.append(request)
        return HttpResponse()

    token = await sync_to_async(token_of)("ann")
    request = RequestFactory().get("/", headers={"Authorization": f"Bearer {token}"})
    await sync_to_async(BearerMiddleware(view))(request)
    assert (await requests[0].auser()).get_username() == login_of("ann")


def test_the_admin_shows_tokens(admin_client: Client) -> None:
    """The admin can revoke tokens, and cannot create them."""
    token_of("ann")
    assert "ann" in admin_client.get("/admin/accounts/token/").content.decode()
    assert admin_client.get("/admin/accounts/token/add/").status_code == 403
    assert str(Token.objects.get()) == f"A test ({login_of('ann')})"


def test_users_manage_their_tokens(settings: Settings) -> None:
    """The page lists the tokens of the user only, shows a new one once, and revokes."""
    settings.TOKENS_PER_USER = 1
    token_of("bob")
    client = session_client()
    assert "You have no tokens." in client.get("/accounts/tokens/").content.decode()
    page = client.post("/accounts/tokens/", {"name": "My <phone>"}).content.decode()
    ann = Token.objects.get(user=user_of("ann"))
    assert ("site_" in page, "My &lt;phone&gt;" in page, "Never" in page) == (True, True, True)
    page = client.post("/accounts/tokens/", {"name": "tablet"}).content.decode()
    assert ("site_" in page, "You have 1 tokens." in page) == (False, True)
    for token in Token.objects.all():
        client.post(f"/accounts/tokens/{token.pk}/revoke/")
    assert client.get(f"/accounts/tokens/{ann.pk}/revoke/").status_code == 405
    assert [token.user for token in Token.objects.all()] == [user_of("bob")]


@pytest.mark.parametrize(
    "subprotocols",
    [
        ["bearer", "<token>"],
        ["<token>", "bearer"],
        ["v2", "bearer", "<token>", "v1"],
        ["bearer", "v2", "<token>"],
    ],
)
async def test_a_token_may_come_as_a_subprotocol(visit: Visit, subprotocols: list[str]) -> None:
    """`bearer` and the token may stand among others, in any order. `bearer` is selected."""
    token = await sync_to_async(token_of)("ann")
    offered = [name.replace("<token>", token) for name in subprotocols]
    ann = await visit(LOBBY, None, subprotocols=offered)
    assert (ann.answer["subprotocol"], (await ann.receive())["user"]) == ("bearer", "ann")


@pytest.mark.parametrize("subprotocols", [["bearer", UNKNOWN], ["bearer", JWT], ["bearer"], ["v2"]])
async def test_other_subprotocols_open_nothing(visit: Visit, subprotocols: list[str]) -> None:
    """Sockets without a valid token are closed with 4401."""
    stranger = await visit(LOBBY, None, subprotocols=subprotocols)
    assert await stranger.close_code() == 4401


@pytest.mark.parametrize("origin", ["capacitor://localhost", "null", "https://evil.example"])
async def test_a_token_outranks_the_origin(visit: Visit, origin: str) -> None:
    """A page cannot forge it. What browsers send by themselves does not count, nor a ticket."""
    headers = [(b"origin", origin.encode())]
    token = await sync_to_async(token_of)("ann")
    by_header = await visit(LOBBY, "ann", headers=headers)
    by_subprotocol = await visit(LOBBY, None, headers=headers, subprotocols=["bearer", token])
    for socket in (by_header, by_subprotocol):
        assert (await socket.receive_until("welcome"))[-1]["user"] == "ann"
    ticket = (await sync_to_async(bearer(token).post)("/api/ticket/")).json()["ticket"]
    for subprotocols in ([], ["bearer"], ["bearer", UNKNOWN]):
        url = f"{LOBBY}?ticket={ticket}"
        refused = await visit(url, None, headers=headers, subprotocols=subprotocols)
        assert not refused.connected


async def test_a_ticket_opens_one_socket(visit: Visit) -> None:
    """A page gets a ticket for its session. The second use is refused."""
    client = await sync_to_async(session_client)()
    response = await sync_to_async(client.post)("/api/ticket/")
    url = f"{LOBBY}?ticket={response.json()['ticket']}"
    ann = await visit(url, None)
    assert (await ann.receive())["user"] == "ann"
    assert await (await visit(url, None)).close_code() == 4401


async def test_a_ticket_expires(visit: Visit) -> None:
    """After 30 seconds it opens nothing, and is gone."""
    user = await sync_to_async(user_of)("ann")
    ticket = await sync_to_async(issue_ticket)(user, session_key="key")
    stored = await Ticket.objects.aget()
    assert stored.expires_at - timezone.now() <= timedelta(seconds=30)
    await Ticket.objects.aupdate(expires_at=timezone.now())
    stranger = await visit(f"{LOBBY}?ticket={ticket}", None)
    assert await stranger.close_code() == 4401
    await sync_to_async(issue_ticket)(user, session_key="key")
    assert await Ticket.objects.acount() == 1


def test_expired_rows_are_deleted() -> None:
    """The daily cleanup leaves those that are valid."""
    user = user_of("ann")
    issue_ticket(user, session_key="key")
    Ticket.objects.update(expires_at=timezone.now())
    Token.objects.create(digest="x", user=user, expires_at=timezone.now())
    valid = Ticket.objects.create(
        digest="x", user=user, expires_at=timezone.now() + timedelta(seconds=30)
    )
    call_command("cleanup", verbosity=0)
    assert (list(Ticket.objects.all()), Token.objects.count()) == ([valid], 0)


def test_a_ticket_needs_a_login_and_a_page_of_ours() -> None:
    """Strangers are answered with 401, and another site's form is refused."""
    browser = Client(enforce_csrf_checks=True)
    assert browser.post("/api/ticket/").status_code == 401
    browser.force_login(user_of("ann"))
    assert browser.post("/api/ticket/").status_code == 403
    program = Client(enforce_csrf_checks=True)
    headers = {"Authorization": f"Bearer {token_of('ann')}"}
    assert program.post("/api/ticket/", headers=headers).status_code == 200


async def test_a_session_keeps_its_ticket_behind_a_proxy(visit: Visit) -> None:
    """The ticket is the session's, also if a staging proxy's password is in the headers."""
    client = await sync_to_async(session_client)()
    headers = {"Authorization": "Basic YTpi"}
    response = await sync_to_async(client.post)("/api/ticket/", headers=headers)
    ticket = await Ticket.objects.aget()
    assert (ticket.token_id, ticket.session_key) == (None, client.session.session_key)
    tab = await visit(f"{LOBBY}?ticket={response.json()['ticket']}", None)
    await tab.receive_until("welcome")
    await sync_to_async(client.post)("/accounts/logout/")
    assert await tab.close_code() == 4403


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
    client = bearer(token)
    program = await visit(LOBBY, None, subprotocols=["bearer", token])
    page, other = await ticket_socket(visit, client), await visit(LOBBY, "ann")
    await other.receive_until("welcome")
    await sync_to_async(client.delete)("/api/token/")
    assert await program.close_code() == 4403
    assert await page.close_code() == 4403
    assert await other.receives_nothing()


def delete_rows() -> None:
    """Delete tokens like another program, without signals."""
    with connection.cursor() as cursor:
        for table in (Ticket, Token):
            cursor.execute(f"DELETE FROM {table._meta.db_table}")


def delete_sessions() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_session")


@pytest.mark.parametrize(
    ("end", "by_token", "by_session"),
    [(delete_rows, 4403, None), (delete_sessions, None, 4403), (update_password, 4403, 4403)],
)
async def test_sockets_follow_the_database(
    visit: Visit, end: Callable[[], None], by_token: int | None, by_session: int | None
) -> None:
    """Sockets of a token or session, and of their tickets, close with the next beat."""
    token = await sync_to_async(token_of)("ann")
    sockets = {
        await visit(LOBBY, None, subprotocols=["bearer", token]): by_token,
        await ticket_socket(visit, bearer(token)): by_token,
        await ticket_socket(visit, await sync_to_async(session_client)()): by_session,
    }
    for socket in sockets:
        await socket.receive_until("welcome")
    await sync_to_async(end)()
    await revalidate(list(get_process().connections))
    for socket, code in sockets.items():
        assert await (socket.close_code() if code else socket.receives_nothing()) == (code or True)


async def test_sockets_end_with_their_token(visit: Visit) -> None:
    """The sockets of a token and of its ticket close when it expires."""
    token = await sync_to_async(token_of)("ann")
    await Token.objects.aupdate(expires_at=timezone.now() + timedelta(seconds=1))
    page = await ticket_socket(visit, bearer(token))
    program = await visit(LOBBY, None, subprotocols=["bearer", token])
    assert [await program.close_code(), await page.close_code()] == [4403, 4403]
