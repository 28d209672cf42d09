"""Notifications of emitted sites: from other processes, to many users, and in a real browser."""

import json
import re

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import OUTAGE, Visits, launch
from support.client import Person, open_socket, receive
from support.emitted import FAST, bake, environ_for, run
from support.matrix import PYTHONS, SIGNED_IN, combinations, label, spread
from support.servers import free_port, start_site

MANAGE = ["uv", "run", "python", "manage.py"]
# Each server in both styles. The other answers take turns.
COMBINATIONS = spread(
    combinations("server", "consumers"), "channel_layer", "database", "django_version", auth=SIGNED_IN
)
IN_BROWSER = spread(combinations("server"), "consumers", "channel_layer", "database", "django_version", auth=SIGNED_IN)
# 10,000 notifications to 1,000 users.
MANY = """
from time import perf_counter
from django.db import connection
from django.test.utils import CaptureQueriesContext
from accounts.models import User
from notifications.models import count_unread
from notifications.notify import notify_many
names = [f"user-{number}" for number in range(1000)]
users = User.objects.bulk_create(User(username=name, display_name=name) for name in names)
with CaptureQueriesContext(connection) as queries:
    start = perf_counter()
    sent = notify_many(users * 10, "Done")
    print(f"{perf_counter() - start:.2f} s")
print(len(sent), len(queries), {count_unread(user.pk) for user in users})
"""
# Order and buyer of the page's example.
BUYER = """
from types import SimpleNamespace
from accounts.models import User
buyer = User.objects.create(username="ann", display_name="ann")
ship(SimpleNamespace(pk=7, save=lambda: None), buyer)
"""


class Site:
    """Project with all sample apps, on a port of its own."""

    tls = None

    def __init__(self, answers, cookies, environment, services):
        self.answers = answers
        self.project = bake(cookies, **answers, examples="all")
        self.environ = environ_for(environment(PYTHONS[-1], answers["django_version"]), **FAST, **services(answers))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.manage("migrate", "--verbosity", "0")

    def manage(self, *arguments):
        return run([*MANAGE, *arguments], self.project, self.environ)

    def serve(self):
        return start_site(["make", "serve"], self.project, self.environ, self.port)

    def connect(self, person, query=""):
        return open_socket(self, f"/ws/notifications/{query}", additional_headers=person.headers())


@pytest.fixture
def site(request, cookies, environment, services):
    return Site(request.param, cookies, environment, services)


def with_sites(answers):
    return pytest.mark.parametrize("site", answers, ids=label, indirect=True)


@pytest.mark.timeout(300)
@with_sites(COMBINATIONS)
def test_command_reaches_open_pages(site):
    """A command in another process notifies all pages of its user. Read in one is read in the other."""
    with site.serve():
        ann, bob = [Person(site, site.answers["auth"]) for _ in range(2)]
        with site.connect(ann) as one, site.connect(ann) as other, site.connect(bob) as stranger:
            assert [receive(socket)["unread"] for socket in (one, other, stranger)] == [1, 1, 1]
            site.manage("notify", "--user", ann.name, "Done", "--url", "/reports/")
            events = [receive(one), receive(other)]
            assert events[0] == events[1]
            assert (events[0]["text"], events[0]["url"], events[0]["seq"]) == ("Done", "/reports/", 2)
            one.send(json.dumps({"type": "read", "first": 1, "last": events[0]["id"]}))
            assert [receive(one)["count"], receive(other)["count"]] == [2, 2]
            stranger.send('{"type": "ping"}')
            assert receive(stranger) == {"type": "pong"}


@pytest.mark.timeout(300)
@with_sites(spread(combinations("database"), "channel_layer", "consumers", "django_version", "server", auth=SIGNED_IN))
def test_many_notifications_take_few_queries(site):
    """10,000 notifications to 1,000 users by one call take a number of queries that does not grow with the users."""
    sent, queries, counts = site.manage("shell", "--no-imports", "-c", MANY).splitlines()[-1].split(" ", 2)
    assert (sent, counts) == ("10000", "{(10, 10)}")
    assert int(queries) < 200


@with_sites(spread(combinations("channel_layer"), "consumers", "database", "django_version", "server", auth=SIGNED_IN))
def test_page_has_a_working_example(site):
    """The example of docs/notifications.md notifies the buyer, as its test asserts."""
    page = (site.project / "docs" / "notifications.md").read_text(encoding="utf-8")
    example, its_test = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    site.manage("shell", "--no-imports", "-c", f"{example}{BUYER}{its_test}")


@pytest.mark.timeout(300)
@with_sites(IN_BROWSER)
def test_bell_counts_in_all_tabs(site):
    """Two tabs show each notification, what is read, and once what came while the server was down."""
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        visits = Visits(browser, site.url)
        visits.expect_problem(f"{OUTAGE}|ERR_ABORTED")
        with site.serve():
            person = Person(site, site.answers["auth"])
            first = visits(person, "/").page
            second = visits.contexts[0].new_page()
            second.goto("/notifications/")
            see_count(first, "1")
            site.manage("notify", "--user", person.name, "Report <1>", "--url", "/")
            for page in (first, second):
                see_count(page, "2")
            expect(second.locator(".notifications li a")).to_have_text(["Report <1>", f"Welcome, {person.name}!"])
        site.manage("notify", "--user", person.name, "Report 2")
        with site.serve():
            for page in (first, second):
                see_count(page, "3")
            texts = ["Report 2", "Report <1>", f"Welcome, {person.name}!"]
            expect(second.locator(".notifications li a")).to_have_text(texts)
            first.get_by_role("link", name="Notifications").click()
            first.get_by_role("link", name="Report <1>").click()
            expect(first).to_have_url(f"{site.url}/")
            for page in (first, second):
                see_count(page, "2")
            expect(second.locator(".is-unread")).to_have_count(2)
            second.get_by_role("button", name="Mark all as read").click()
            see_count(first, "")
            expect(second.locator(".is-unread")).to_have_count(0)  # a new page, so nothing is announced
            expect(second.locator(".bell .count")).to_be_hidden()
        visits.check()


def see_count(page, text):
    """Check the number on the bell."""
    expect(page.locator(".bell .count")).to_have_text(text)
    expect(page.locator(".unread-count")).to_have_text(f"{text or 0} unread notification{'' if text == '1' else 's'}")


@pytest.mark.timeout(300)
@with_sites(IN_BROWSER[:1])
def test_hidden_page_has_no_socket(site):
    """A page that is hidden for 30 seconds closes its socket. It has the count again once it is shown."""
    with site.serve(), sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        visits = Visits(browser, site.url)
        person = Person(site, site.answers["auth"])
        page = visits(person, "/").page
        see_count(page, "1")
        page.clock.install()
        with page.expect_websocket() as opened:
            page.reload()
        see_count(page, "1")
        with opened.value.expect_event("close"):
            show(page, hidden=True)
            page.clock.run_for(31_000)
        site.manage("notify", "--user", person.name, "Done")
        show(page, hidden=False)
        see_count(page, "2")
        visits.check()


@pytest.mark.timeout(300)
@with_sites(IN_BROWSER[:1])
def test_page_in_the_background_has_no_socket(site):
    """A page that is opened hidden connects once it is shown."""
    with site.serve(), sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        visits = Visits(browser, site.url)
        page = visits(Person(site, site.answers["auth"]), "/").page
        see_count(page, "1")
        page.add_init_script("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
        opened = []
        page.on("websocket", lambda socket: opened.append(socket.url))
        page.goto("/notifications/")
        expect(page.locator(".notifications time")).not_to_have_text(re.compile("-"))  # the script ran
        assert opened == []
        show(page, hidden=False)
        see_count(page, "1")
        visits.check()


def show(page, *, hidden):
    """Let the page be hidden, or be shown again."""
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )
