"""Sections of docs/recipes/bring-other-code.md are followed with the real packages, and these work."""

import json
import re
import subprocess

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import OUTAGE, launch, visiting
from support.client import Person, close_code, cookie, open_socket, receive, say
from support.emitted import FAST, bake, clean_environ, run
from support.matrix import CHOICES, CONTEXT, PYTHONS, SIGNED_IN
from support.pages import JWTS, OTHER_CODE, commands
from support.reports import sentry
from support.servers import end_group, free_port, start_site, wait_until

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


def test_history_is_for_those_who_may_enter() -> None:
    """A JWT reads them. Without one the answer is 401, and for a room of others 404."""
    Room.objects.create(name="~secret")
    page = "/api/rooms/lobby/messages/"
    assert Client().get(page).status_code == 401
    jwt = AccessToken.for_user(user_of("ann"))
    program = Client(headers={"Authorization": f"Bearer {jwt}"})
    assert program.get(page).json() == {"messages": [], "more": False}
    assert program.get("/api/rooms/~secret/messages/").status_code == 404
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
    """What a user writes in the chat reaches a subscription."""
    bob = await visit("/ws/chat/lobby/", "bob")
    await bob.receive_until("welcome")
    ann = await visit("/ws/graphql/", subprotocols=["graphql-transport-ws"])
    await subscribe(ann, "lobby")
    await ann.send(type="ping")
    assert await ann.receive() == {"type": "pong"}
    await bob.send(type="send", ref="a1", text="hi")
    assert (await ann.receive())["payload"] == {"data": {"messages": "hi"}}
'''
REFUSALS = '''

async def test_strangers_are_refused(visit: Visit) -> None:
    """Private rooms stay private, and strangers outside."""
    eve = await visit("/ws/graphql/", "eve", subprotocols=["graphql-transport-ws"])
    await subscribe(eve, "~secret")
    assert await eve.receive() == {"type": "complete", "id": "1"}
    stranger = await visit("/ws/graphql/", None, subprotocols=["graphql-transport-ws"])
    assert await stranger.close_code() == 4401
'''
STREAM_AND_TASK = '''"""A stream of a room, and a task."""

import json
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.test import AsyncClient
from pytest_django import Settings

from chat.announcements import announce
from chat.models import Draft, astore_message
from conftest import Visit


async def test_streams_end(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream has what its reader missed. It ends before a proxy would end it."""
    monkeypatch.setattr("chat.stream.SECONDS", 0.1)
    message, _ = await astore_message(Draft("lobby", "1", "ann", "a1", "hi"))
    answer: Any = await AsyncClient().get("/chat/lobby/stream/", headers={"Last-Event-ID": "0"})
    event = f"id: 1\\ndata: {json.dumps(message.event())}\\n\\n"
    assert [part async for part in answer] == [b"retry: 1000\\n\\n", event.encode()]
    layer: Any = get_channel_layer()
    assert layer.groups == {}


async def test_task_publishes_at_once(visit: Visit, settings: Settings) -> None:
    """Django's own backend needs no worker."""
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    ann = await visit("/ws/chat/lobby/")
    await ann.receive_until("welcome")
    await announce.aenqueue("lobby", "hi")
    assert await ann.receive() == {"type": "announcement", "text": "hi"}
'''
# Each section with the sections that it needs, and with its test.
SECTIONS = {
    "Sign-in by other sites": ([], ALLAUTH),
    "REST framework": ([], REST),
    "Consumers of REST framework": (["REST framework"], OBSERVER),
    "GraphQL subscriptions": ([], GRAPHQL + REFUSALS),
}
# Sections with tests of their own.
HTMX = "htmx"
STREAMS = "Server-sent events"
TOOLBAR = "Debug toolbar"
SENTRY = "Sentry"
TASKS = "Django's tasks"
CELERY = "Celery"
FOR_GUESTS = [TYPES, "GraphQL subscriptions", HTMX, STREAMS, TOOLBAR, SENTRY, TASKS, CELERY]

SERVE = ["uv", "run", "python", "manage.py", "serve"]
# A view that counts the members of all groups, and some that fail.
PROBES = """

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from django.contrib.auth.decorators import login_not_required
from django.http import HttpResponse

from config.routing import websocket_urlpatterns
from realtime.consumers import RealtimeConsumer


@login_not_required
def count(request):
    return HttpResponse(sum(map(len, get_channel_layer().groups.values())))


def fail(request):
    raise RuntimeError("The view fails.")


class Failing(RealtimeConsumer):
    async def receive_event(self, event):
        raise RuntimeError("The consumer fails.")


class OrdinaryFailing(AsyncWebsocketConsumer):
    async def receive(self, text_data):
        raise RuntimeError("The ordinary consumer fails.")


urlpatterns += [path("count/", count), path("fail/", fail)]
websocket_urlpatterns[:0] = [
    path("ws/fail/", Failing.as_asgi()),
    path("ws/fail/ordinary/", OrdinaryFailing.as_asgi()),
]
"""
FAILURES = {"The view fails.", "The consumer fails.", "The ordinary consumer fails."}


def page_of(project, name=OTHER_CODE):
    return (project / "docs" / "recipes" / f"{name}.md").read_text(encoding="utf-8")


def section_of(project, title):
    """Return the text of one section."""
    return page_of(project).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("auth", CHOICES["auth"])
def test_every_section_is_tested(auth, cookies):
    """The page has these sections, in this order. Guests have those that need no accounts."""
    titles = re.findall(r"^## (.+)$", page_of(bake(cookies, auth=auth)), re.M)
    assert titles == (FOR_GUESTS if auth == "none" else [TYPES, *SECTIONS, *FOR_GUESTS[2:]])


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
def test_sections_work_for_guests(cookies):
    """All sections work together. The toolbar is on pages of development, and the browser refuses nothing.

    The development server runs tasks that another process enqueues.
    """
    project = bake(cookies, auth="none")
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]), **FAST)
    run(["make", "setup"], project, environ)
    for title in FOR_GUESTS:
        follow(commands(section_of(project, title)), project, environ)
    for name, test in {"package": GRAPHQL, "stream": STREAM_AND_TASK}.items():
        (project / "tests" / f"test_{name}.py").write_text(test, encoding="utf-8")
    run(["uv", "run", "ruff", "check", "--fix", "tests"], project, environ)
    run(["make", "lint"], project, environ)
    run(["uv", "run", "pytest", "tests", "chat/tests/test_pages.py"], project, environ)
    command = ["uv", "run", "python", "manage.py", "runserver", "--noreload"]
    with (
        start_site(command, project, environ) as site,
        sync_playwright() as playwright,
        launch(playwright, "chromium") as browser,
        visiting(browser, site.url) as visits,
        Person(site, "none").connect("lobby") as socket,
    ):
        assert receive(socket)["type"] == "welcome"
        enqueue(TASKS, "hi", project, environ)
        assert receive(socket) == {"type": "announcement", "text": "hi"}
        event = say(socket, "a1", "hello")
        page = visits(None, "/chat/lobby/live/").page
        expect(page.locator("#messages li")).to_have_text([f"{event['user']} hello"])
        page.locator("a.SQLPanel").click()
        expect(page.locator("#SQLPanel")).to_contain_text("No SQL queries were recorded during this request.")


def enqueue(title, text, project, environ):
    """Start the task of a section from a shell."""
    module, method = {TASKS: ("announcements", "enqueue"), CELERY: ("tasks", "delay")}[title]
    code = f"from chat.{module} import announce; announce.{method}('lobby', '{text}')"
    run(["uv", "run", "python", "manage.py", "shell", "-c", code], project, environ)


@pytest.mark.timeout(900)
def test_pages_and_reports_outlive_servers(cookies):
    """Pages of htmx and streams continue after each server's end, without gaps. Exceptions are reported.

    A reader that leaves is forgotten at once. Reports have no secrets, and a Sentry that does not answer holds up no
    server.
    """
    project = bake(cookies, auth="token")
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]), **FAST)
    run(["make", "setup"], project, environ)
    for title in (TYPES, HTMX, STREAMS, SENTRY):
        follow(commands(section_of(project, title)), project, environ)
    for command in ("ruff check", "ruff format --check", "pytest tests chat/tests/test_pages.py"):
        run(["uv", "run", *command.split()], project, environ)
    servers = CONTEXT["_choices"]["server"]
    run(["uv", "add", *(one for server in servers.values() for one in server["requirements"])], project, environ)
    with (project / "config" / "urls.py").open("a", encoding="utf-8") as urls:
        urls.write(PROBES)
    port, person, said = free_port(), None, []
    with (
        sentry() as intake,
        sync_playwright() as playwright,
        launch(playwright, "chromium") as browser,
        visiting(browser, f"http://127.0.0.1:{port}", OUTAGE, r"object Event|INCOMPLETE_CHUNKED") as visits,
    ):
        for server in servers:
            variables = {"SERVER": server, "SENTRY_DSN": intake.dsn}
            with start_site(SERVE, project, {**environ, **variables}, port=port) as site:
                if person is None:
                    person = Person(site, "token")
                    page = visits(person, "/chat/attic/live/").page
                    page.evaluate(FOLLOW)
                with person.connect("attic") as socket:
                    while receive(socket)["type"] != "welcome":
                        pass
                    said += [f"{server} says <b>hi</b>", f"to {server}"]
                    event = say(socket, f"to-{server}", said[-2])
                    expect(page.locator("#messages li")).to_have_text([f"{person.name} {text}" for text in said[:-1]])
                    page.get_by_label("Message").fill(said[-1])
                    page.get_by_role("button", name="Send").click()
                    expect(page.locator("#messages li")).to_have_text([f"{person.name} {text}" for text in said])
                    page.wait_for_function("count => window.texts.length === count", arg=len(said))
                    assert page.evaluate("window.texts") == said
                    see_stream(site, person, event)  # counts members, so the stream of the page is back
                see_reports(site, person, intake)
                intake.thawed.clear()
                assert person.http.get("/fail/").status_code == 500
                assert site.terminate() < 10
                intake.thawed.set()


FOLLOW = """() => new Promise((resolve) => {
  window.texts = [];
  const source = new EventSource("/chat/attic/stream/");
  source.onmessage = ({ data }) => window.texts.push(JSON.parse(data).text);
  source.onopen = () => resolve(); // from here on, no message is missed
})"""


def see_stream(site, person, event):
    """Check that a stream begins after `Last-Event-ID`, and that its end frees it. Others cannot read it."""

    def members():
        return httpx.get(f"{site.url}/count/", trust_env=False, timeout=30).text

    before = members()
    last = {"Last-Event-ID": str(event["seq"] - 1)}
    with person.http.stream("GET", "/chat/attic/stream/", headers=last) as answer:
        headers = ("Content-Type", "X-Accel-Buffering")
        assert [answer.headers[name] for name in headers] == ["text/event-stream", "no"]
        lines = answer.iter_lines()
        assert [next(lines), next(lines), next(lines)] == ["retry: 1000", "", f"id: {event['seq']}"]
        assert json.loads(next(lines).removeprefix("data: ")) == event
        assert int(members()) == int(before) + 1
    wait_until(lambda: members() == before, "the stream is freed")
    stranger = httpx.get(f"{site.url}/chat/attic/stream/", trust_env=False, timeout=30)
    assert stranger.headers["location"] == "/accounts/login/?next=/chat/attic/stream/"
    assert person.http.get("/chat/~secret/stream/").status_code == 404


def see_reports(site, person, intake):
    """Check that exceptions of a view and of consumers are reported, without what could be misused."""
    intake.bodies.clear()
    headers = {"X-CSRFToken": cookie(person.http, "csrftoken")}
    person.http.post("/fail/?code=sesame", data={"text": "form of sesame"}, headers=headers)
    ticket = person.ticket()
    with open_socket(site, f"/ws/fail/?ticket={ticket}") as socket:
        socket.send('{"type": "frame of sesame"}')
        assert close_code(socket) == 1011
    with open_socket(site, "/ws/fail/ordinary/", additional_headers=person.headers()) as socket:
        socket.send("frame of sesame")
        assert close_code(socket) == 1011
    wait_until(lambda: intake.exceptions() == FAILURES, f"reports of {FAILURES}")
    cookies = [value for _, value in person.http.cookies.items()]
    texts = b"".join(intake.bodies).decode()
    secrets = [ticket, person.token, *cookies, "sesame", person.name, "127.0.0.1"]
    assert [secret for secret in secrets if secret in texts] == []


@pytest.mark.timeout(900)
def test_tasks_publish(cookies, redis, tmp_path):
    """A task that a command starts reaches an open socket through a worker of Django's tasks, or of Celery."""
    project = bake(cookies, channel_layer="redis")
    services = {"REDIS_URL": f"{redis.url}/0", "CELERY_BROKER_URL": f"{redis.url}/1"}
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]), **services, **FAST)
    run(["make", "setup"], project, environ)
    for title in (TYPES, TASKS, CELERY):
        follow(commands(section_of(project, title)), project, environ)
    run(["make", "lint"], project, environ)
    with (
        start_site(SERVE, project, environ) as site,
        Person(site, "session").connect("lobby") as socket,
        (tmp_path / "log").open("wb") as log,
    ):
        assert receive(socket)["type"] == "welcome"
        for title in (TASKS, CELERY):
            (worker,) = re.findall(r"`(uv run .*?)`", section_of(project, title))
            process = subprocess.Popen(
                worker.split(), cwd=project, env=environ, stdout=log, stderr=log, start_new_session=True
            )
            try:
                enqueue(title, worker, project, environ)
                assert receive(socket) == {"type": "announcement", "text": worker}
            finally:
                end_group(process)
