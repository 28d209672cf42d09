"""Sections of docs/recipes/bring-other-code.md are followed with the real packages, and these work."""

import re
import subprocess

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import launch
from support.client import Person, receive
from support.emitted import FAST, bake, clean_environ, run
from support.matrix import PYTHONS, SIGNED_IN
from support.pages import JWTS, OTHER_CODE, commands
from support.servers import end_group, start_site

from demo import find_python

TYPES = "Types"  # the section before all others
ALLAUTH = '''"""Sign-in by another site, for which a provider without a network stands in."""

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from pytest_django import Settings

from conftest import Visit
from tests.people import user_of

STRANGER = {"id": "1", "email": "eve@example.com", "email_verified": True}


@pytest.mark.parametrize("is_open", [True, False])
async def test_sign_in_opens_sockets_until_logout(
    is_open: bool, visit: Visit, settings: Settings
) -> None:
    """Pages have the frame of the site, and strangers get no account while sign-up is closed."""
    settings.SIGNUP_OPEN = is_open
    client = Client()
    get, post = sync_to_async(client.get), sync_to_async(client.post)
    for path in ("/", "/accounts/login/", "/accounts/dummy/login/"):
        answer = await get(path, follow=True)
        assert (answer.status_code, b"<header>" in answer.content) == (200, True)
    answer = await post("/accounts/dummy/login/")
    answer = await post(answer.headers["location"], STRANGER, follow=True)
    if not is_open:
        assert "Sign Up Closed" in answer.content.decode()
        return
    assert answer.redirect_chain[-1] == ("/", 302)
    for path in ("/", "/chat/lobby/", "/accounts/email/", "/accounts/3rdparty/"):
        assert (await get(path)).status_code == 200
    eve = await visit("/ws/lobby/", None, headers=cookies_of(client))
    assert (await eve.receive())["user"] == "eve"
    await post("/accounts/logout/")
    assert await eve.close_code() == 4403


async def test_accounts_of_the_site_log_in_as_before(visit: Visit) -> None:
    """The site's own login remains."""
    user = await sync_to_async(user_of)("ann")
    user.set_password("correct horse battery")
    await user.asave()
    fields = {"username": "ann", "password": "correct horse battery"}
    answer = await sync_to_async(Client().post)("/accounts/login/", fields)
    assert answer.headers["location"] == "/"


def cookies_of(client: Client) -> list[tuple[bytes, bytes]]:
    pairs = (f"{cookie.key}={cookie.value}" for cookie in client.cookies.values())
    return [(b"cookie", "; ".join(pairs).encode())]
'''
REST = '''"""Rooms for programs."""

import pytest
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken

from chat.models import Room
from tests.people import user_of

pytestmark = pytest.mark.django_db


def test_rooms_are_listed_by_jwt_and_session() -> None:
    """A stranger gets 401, and others see the rooms that they may enter."""
    Room.objects.create(name="lobby")
    Room.objects.create(name="~secret")
    assert Client().get("/api/rooms/").status_code == 401
    jwt = AccessToken.for_user(user_of("ann"))
    browser = Client()
    browser.force_login(user_of("bob"))
    for client in (Client(headers={"Authorization": f"Bearer {jwt}"}), browser):
        assert client.get("/api/rooms/").json() == [{"name": "lobby"}]
'''
OBSERVER = '''"""Rooms as they are created."""

import json
from typing import Any

from conftest import Visit
from chat.models import Room
from realtime.testing import SocketClient


async def answer(client: SocketClient) -> dict[str, Any]:
    """Return the next event, which has no type."""
    event: dict[str, Any] = json.loads((await client.communicator.receive_output(5))["text"])
    return event


async def test_open_rooms_are_observed(visit: Visit) -> None:
    """A user gets the list, and each new room that is not private. A stranger is refused."""
    await Room.objects.acreate(name="lobby")
    ann = await visit("/ws/rooms/")
    await ann.send(action="list", request_id=1)
    assert (await answer(ann))["data"] == [{"name": "lobby"}]
    await ann.send(action="subscribe", request_id=2)
    assert (await answer(ann))["response_status"] == 201
    await Room.objects.acreate(name="~secret")
    attic = await Room.objects.acreate(name="attic")
    assert (await answer(ann))["pk"] == attic.pk
    assert await (await visit("/ws/rooms/", None)).close_code() == 4401
'''
GRAPHQL = '''"""Messages as a GraphQL subscription."""

from conftest import Visit
from realtime.testing import SocketClient


async def subscribe(client: SocketClient, room: str) -> None:
    """Subscribe to a room, and wait until the server has done it."""
    await client.send(type="connection_init")
    assert await client.receive() == {"type": "connection_ack"}
    query = f'subscription {{ messages(room: "{room}") }}'
    await client.send(type="subscribe", id="1", payload={"query": query})


async def test_messages_are_delivered(visit: Visit) -> None:
    """What a user writes in the chat reaches a subscription. Private rooms stay private."""
    bob = await visit("/ws/chat/lobby/", "bob")
    await bob.receive_until("welcome")
    ann = await visit("/ws/graphql/", subprotocols=["graphql-transport-ws"])
    await subscribe(ann, "lobby")
    await ann.send(type="ping")
    assert await ann.receive() == {"type": "pong"}
    await bob.send(type="send", ref="a1", text="hi")
    assert (await ann.receive())["payload"] == {"data": {"messages": "hi"}}
    eve = await visit("/ws/graphql/", "eve", subprotocols=["graphql-transport-ws"])
    await subscribe(eve, "~secret")
    assert await eve.receive() == {"type": "complete", "id": "1"}
    stranger = await visit("/ws/graphql/", None, subprotocols=["graphql-transport-ws"])
    assert await stranger.close_code() == 4401
'''
# Each section with the sections that it needs, and with its test.
SECTIONS = {
    "Sign-in by other sites": ([], ALLAUTH),
    "REST framework": ([], REST),
    "Consumers of REST framework": (["REST framework"], OBSERVER),
    "GraphQL subscriptions": ([], GRAPHQL),
}


TOOLBAR = "Debug toolbar"  # the section whose test needs a browser
CELERY = "Celery"  # the section whose test needs a worker


def page_of(project, name=OTHER_CODE):
    return (project / "docs" / "recipes" / f"{name}.md").read_text(encoding="utf-8")


def section_of(project, title):
    """Return the text of one section."""
    return page_of(project).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_section_is_tested(cookies):
    """The page has these sections, in this order."""
    titles = re.findall(r"^## (.+)$", page_of(bake(cookies)), re.M)
    assert titles == [TYPES, *SECTIONS, TOOLBAR, CELERY]


def follow(lines, project, environ):
    for line in lines:
        run(["sh", "-c", line], project, environ)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("title", "auth"), [(title, SIGNED_IN[number % len(SIGNED_IN)]) for number, title in enumerate(SECTIONS)]
)
def test_package_works(title, auth, cookies):
    """The section's commands add the package, its test passes, and linters and the site's own tests of pages do."""
    project = bake(cookies, auth=auth)
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]), **FAST)
    needed, test = SECTIONS[title]
    run(["make", "setup"], project, environ)
    if "REST framework" in (title, *needed):
        follow(commands(page_of(project, JWTS)), project, environ)
    for each in (TYPES, *needed, title):
        follow(commands(section_of(project, each)), project, environ)
    (project / "tests" / "test_package.py").write_text(test, encoding="utf-8")
    run(["uv", "run", "ruff", "check", "--fix", "tests"], project, environ)
    run(["make", "lint"], project, environ)
    settings = project / "config" / "settings.py"
    if test == ALLAUTH:  # after the linters: a provider without a network
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace("providers.github", "providers.dummy"), encoding="utf-8")
    run(["uv", "run", "pytest", "tests", "accounts", "chat/tests/test_pages.py"], project, environ)


@pytest.mark.timeout(900)
def test_toolbar_shows_queries(cookies):
    """The toolbar is on pages of development, and the browser refuses nothing. Tests run without it."""
    project = bake(cookies)
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]), **FAST)
    run(["make", "setup"], project, environ)
    for title in (TYPES, TOOLBAR):
        follow(commands(section_of(project, title)), project, environ)
    run(["make", "lint"], project, environ)
    run(["uv", "run", "pytest", "tests", "chat/tests/test_pages.py"], project, environ)
    command = ["uv", "run", "python", "manage.py", "runserver", "--noreload"]
    with (
        start_site(command, project, environ) as site,
        sync_playwright() as playwright,
        launch(playwright, "chromium") as browser,
    ):
        page, said = browser.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{site.url}/accounts/login/")
        page.locator("a.SQLPanel").click()
        expect(page.locator("#SQLPanel")).to_contain_text("No SQL queries were recorded during this request.")
        assert said == []


@pytest.mark.timeout(900)
def test_tasks_publish(cookies, redis, tmp_path):
    """A task that a command starts reaches an open socket through Celery's worker."""
    project = bake(cookies, channel_layer="redis")
    services = {"REDIS_URL": f"{redis.url}/0", "CELERY_BROKER_URL": f"{redis.url}/1"}
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]), **services, **FAST)
    run(["make", "setup"], project, environ)
    for title in (TYPES, CELERY):
        follow(commands(section_of(project, title)), project, environ)
    run(["make", "lint"], project, environ)
    (worker,) = re.findall(r"`(uv run celery .*?)`", section_of(project, CELERY))
    with (
        start_site(["uv", "run", "python", "manage.py", "serve"], project, environ) as site,
        Person(site, "session").connect("lobby") as socket,
        (tmp_path / "log").open("wb") as log,
    ):
        assert receive(socket)["type"] == "welcome"
        process = subprocess.Popen(
            worker.split(), cwd=project, env=environ, stdout=log, stderr=log, start_new_session=True
        )
        try:
            for text in ("one", "two"):
                task = f"from chat.tasks import announce; announce.delay('lobby', '{text}')"
                run(["uv", "run", "python", "manage.py", "shell", "-c", task], project, environ)
                assert receive(socket) == {"type": "announcement", "text": text}
        finally:
            end_group(process)
