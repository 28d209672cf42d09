"""Accounts: sign-up, login, and the sockets that follow them."""

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.auth import logout
from django.db import IntegrityError
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from conftest import Visit
from tests.people import client_of, handshake_headers, id_of, login_of

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
LOBBY = "/ws/lobby/"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


def sign_up(client: Client, query: str = "", **fields: str) -> tuple[int, str | None]:
    data = {"username": "ann", "email": "ann@example.com", **fields}
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    response = client.post(f"/accounts/signup/{query}", data | passwords, secure=True)
    return response.status_code, response.get("Location")


@pytest.mark.parametrize(("fields", "name"), [({}, "ann"), ({"display_name": "Ann B."}, "Ann B.")])
def test_visitor_signs_up(settings: Settings, fields: dict[str, str], name: str) -> None:
    """A new user is signed in. The page shows the display name, or the user name without one."""
    settings.SIGNUP_OPEN = True
    client = Client()
    assert 'name="display_name"' in client.get("/accounts/signup/").content.decode()
    assert sign_up(client, **fields) == (302, "/")
    assert f">{name}</span>" in client.get("/").content.decode()
    assert User.objects.get().display_name == name


def test_form_to_sign_up_is_short(settings: Settings) -> None:
    """A field has a line of help at most. Browsers and password managers fill them in."""
    settings.SIGNUP_OPEN = True
    page = Client().get("/accounts/signup/").content.decode()
    assert sorted(re.findall(r'class="helptext"[^>]*>(.*?)</', page)) == [
        "Optional, but needed for a new password. Not shown to others.",
        "Optional. Shown instead of the username.",
        "Your password must contain at least 8 characters.",
    ]
    kinds = ["email", "new-password", "new-password", "nickname", "username"]
    assert sorted(re.findall(r' autocomplete="(.*?)"', page)) == kinds
    assert page.count(" autofocus") == 1


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("username", {"username": "a b", "password1": "1"}),
        ("password1", {"password1": "1", "password2": "1"}),
        ("password1", {"password1": PASSWORD, "password2": "1"}),
        ("password2", {"password1": PASSWORD, "password2": ""}),
    ],
)
def test_first_invalid_field_has_the_focus(
    settings: Settings, name: str, fields: dict[str, str]
) -> None:
    """An error describes its field. Unequal passwords are an error of the first."""
    settings.SIGNUP_OPEN = True
    data = {"username": "ann", "email": "ann@example.com", **fields}
    answer = Client().post("/accounts/signup/", data, secure=True)
    (focused,) = re.findall(r"<input [^>]* autofocus[^>]*>", answer.content.decode())
    assert f'name="{name}"' in focused
    assert f"id_{name}_error" in focused


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "First"},  # taken
        {"display_name": "Ann"},
        {"username": "\u0430nn"},  # Cyrillic
        {"display_name": "\uff21\uff4e\uff4e"},  # full width
        {"display_name": "a\u200cnn"},  # a joiner between the letters
        {"display_name": "\u200d"},
        {"display_name": "\u202egro.elpmaxe"},  # from right to left
        {"username": "\u3164"},  # a blank letter
    ],
)
def test_misleading_names_are_refused(settings: Settings, fields: dict[str, str]) -> None:
    """Look-alikes of another user, and invisible names: sign-up shows the form again."""
    settings.SIGNUP_OPEN = True
    User.objects.create_user("first", display_name="ann")
    assert sign_up(Client(), **{"username": "bob", **fields}) == (200, None)
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    "name", ["Anna", "an\u00f1", "\u0627\u062d\u0645\u062f", "\U0001f469\u200d\U0001f4bb"]
)
def test_names_of_all_scripts_are_welcome(settings: Settings, name: str) -> None:
    """Accents, other scripts and emoji distinguish names."""
    settings.SIGNUP_OPEN = True
    User.objects.create_user("ann")
    assert sign_up(Client(), username="bob", display_name=name) == (302, "/")


@pytest.mark.parametrize("name", ["Ann", "x" * 151])
def test_invalid_user_name_is_one_error(settings: Settings, name: str) -> None:
    """A taken or too long user name adds no error of the display name, whose default it is."""
    settings.SIGNUP_OPEN = True
    User.objects.create_user("ann")
    client = Client()
    fields = {"username": name, "email": "bob@example.com"}
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    response = client.post("/accounts/signup/", fields | passwords, secure=True)
    assert list(response.context["form"].errors) == ["username"]


def test_display_name_is_never_empty() -> None:
    """The database refuses an empty one, which would be shown as the user name."""
    User.objects.create_user("ann")
    with pytest.raises(IntegrityError):
        User.objects.update(display_name="")


def test_sign_up_works_with_two_backends(settings: Settings) -> None:
    """The session names the backend that finds the user, wherever it stands in the list."""
    settings.SIGNUP_OPEN = True
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.BaseBackend",
        MODEL_BACKEND,
        "django.contrib.auth.backends.AllowAllUsersModelBackend",
    ]
    client = Client()
    assert sign_up(client) == (302, "/")
    assert client.session["_auth_user_backend"] == MODEL_BACKEND
    assert client.get("/accounts/password_change/").status_code == 200


@pytest.mark.parametrize(
    ("query", "destination"),
    [
        ("?next=/elsewhere/", "/elsewhere/"),
        ("?next=elsewhere", "elsewhere"),
        ("?next=https://example.com/", "/"),
        ("?next=javascript:0", "/"),
        ("?next=http://testserver/", "/"),  # leaves HTTPS
        (f"?next=/{'x' * 5000}", "/"),  # longer than Django allows
    ],
)
def test_sign_up_leads_back(settings: Settings, query: str, destination: str) -> None:
    """`next` leads to a page of the site, never to another site, and never to plain HTTP."""
    settings.SIGNUP_OPEN = True
    login = Client().get(f"/accounts/login/{query}").content.decode()
    assert f'href="/accounts/signup/?{quote(query[1:], safe="=")}"' in login
    assert sign_up(Client(), query) == (302, destination)


def test_sign_up_may_be_closed(settings: Settings) -> None:
    """The page is then missing."""
    settings.SIGNUP_OPEN = False
    assert sign_up(Client()) == (404, None)
    assert User.objects.count() == 0


def test_sign_ups_are_throttled(settings: Settings) -> None:
    """Each counts for its address, and above the limit makes it wait. Other addresses do not."""
    settings.SIGNUP_OPEN, settings.REALTIME_MAX_ADDRESS_FAILURES = True, 2
    networks = {"ann": 2, "bob": 2, "cat": 2, "dan": 3}
    statuses = [
        sign_up(
            Client(REMOTE_ADDR=f"192.0.{number}.1"), username=name, email=f"{name}@example.com"
        )[0]
        for name, number in networks.items()
    ]
    assert statuses == [302, 302, 429, 302]
    assert not User.objects.filter(username="cat").exists()


def test_pages_need_a_login() -> None:
    """The login leads back to the page."""
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    client = Client()
    page = "/accounts/password_change/"
    assert client.get(f"{page}?a=b")["Location"] == f"/accounts/login/?next={page}%3Fa%3Db"
    fields = {"username": login_of("ann"), "password": PASSWORD}
    response = client.post(f"/accounts/login/?next={page}%3Fa%3Db", fields)
    assert response["Location"] == f"{page}?a=b"
    assert client.post("/accounts/logout/")["Location"] == "/"
    assert client.get(page).status_code == 302


@pytest.mark.parametrize("path", ["/accounts/logout/", "/admin/logout/"])
def test_logout_clears_the_browser(admin_client: Client, path: str) -> None:
    """The next user of the machine finds nothing that pages stored."""
    response = admin_client.post(path)
    assert (response["Location"], response["Clear-Site-Data"]) == ("/", '"storage"')
    assert "_auth_user_id" not in admin_client.session


def test_sign_ins_are_security_events(caplog: pytest.LogCaptureFixture) -> None:
    """Failures name an account only if it exists."""
    User.objects.create_user("ann", "ann@example.com", PASSWORD)
    client = Client()
    with caplog.at_level("INFO", "security"):
        for name, password in (("bob", PASSWORD), ("ann", "wrong"), ("ann", PASSWORD)):
            fields = {"username": login_of(name), "password": password}
            client.post("/accounts/login/", fields)
        client.post("/accounts/logout/")
        User.objects.get().delete()
    events = [record.getMessage() for record in caplog.records if record.name == "security"]
    assert events == [
        "event=sign_in_failed account=-",
        f"event=sign_in_failed account={login_of('ann')}",
        "event=sign_in",
        "event=sign_out",
        f"event=access_revoked account={login_of('ann')}",
    ]


def test_admin_manages_accounts(admin_client: Client) -> None:
    """A new account gets its user name as display name, which can be changed."""
    add = {
        "username": "ann",
        "email": "ann@example.com",
        "usable_password": "false",
        "password1": "",
        "password2": "",
    }
    assert admin_client.post("/admin/accounts/user/add/", add).status_code == 302
    ann = User.objects.get(username="ann")
    assert ann.display_name == "ann"
    change = f"/admin/accounts/user/{ann.pk}/change/"
    fields = {"username": "ann", "display_name": "Ann B.", "email": "ann@example.com"}
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "12:00"}
    assert admin_client.post(change, fields | joined).status_code == 302
    ann.refresh_from_db()
    assert (ann.username, ann.display_name) == ("ann", "Ann B.")


async def test_stranger_is_closed(visit: Visit) -> None:
    """The socket opens and closes with 4401, so that the client learns why."""
    stranger = await visit(LOBBY, None)
    assert (stranger.connected, await stranger.close_code()) == (True, 4401)


async def test_deactivated_user_is_a_stranger(visit: Visit) -> None:
    """A sign-in from before opens nothing."""
    headers = await sync_to_async(handshake_headers)("ann")
    await User.objects.aupdate(is_active=False)
    ann = await visit(LOBBY, None, headers=headers)
    assert await ann.close_code() == 4401


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def rename_and_deactivate(user: User) -> None:
    user.username, user.display_name, user.is_active = "eve", "Eve", False
    user.save()


def change_password(user: User) -> None:
    user.set_password("another horse battery")
    user.save()


def log_out_without_request(user: User) -> None:
    scope: dict[str, object] = {"user": user, "session": Client().session}
    async_to_sync(logout)(scope)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [deactivate, rename_and_deactivate, change_password, log_out_without_request, User.delete],
)
async def test_sockets_follow_their_user(visit: Visit, change: Callable[[User], object]) -> None:
    """Whatever ends the access of a user closes all sockets with 4403."""
    ann, bob = await visit(LOBBY, "ann"), await visit(LOBBY, "bob")
    await bob.receive_until("welcome")
    await sync_to_async(change)(await User.objects.aget(username="ann"))
    assert await ann.close_code() == 4403
    await bob.wait_for_users("bob")


async def test_other_changes_of_a_user_close_nothing(visit: Visit) -> None:
    """Examples: a new e-mail address, a new user name, a login elsewhere."""
    ann = await visit(LOBBY, "ann")
    await ann.receive_until("welcome")
    user = await User.objects.aget(username="ann")
    user.email, user.username = "annie@example.com", "annie"
    await user.asave()
    await sync_to_async(client_of)("annie")
    assert await ann.receives_nothing()


async def test_users_may_share_a_display_name(visit: Visit) -> None:
    """Presence counts two users."""
    ids = {name: await sync_to_async(id_of)(name) for name in ("ann", "bob")}
    await User.objects.aupdate(display_name="Sam")
    ann, _ = await visit(LOBBY, "ann"), await visit(LOBBY, "bob")
    welcome = (await ann.receive_until("welcome"))[-1]
    assert (welcome["user"], welcome["user_id"]) == ("Sam", ids["ann"])
    users = (await ann.wait_for_users("Sam", "Sam"))["users"]
    assert {user["user_id"] for user in users} == set(ids.values())
