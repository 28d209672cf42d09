"""Tokens and tickets in a real browser, however the site keeps its CSRF token."""

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import OUTAGE, Visits, launch
from support.client import Person, close_code, open_socket, receive
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS
from support.servers import start_site

pytestmark = pytest.mark.xdist_group("tokens")  # share a project

MANAGE = ["uv", "run", "python", "manage.py"]
# Settings of Django that hide the CSRF token from scripts, or change how it is sent.
HIDDEN = {
    "default": "",
    "session": "CSRF_USE_SESSIONS = True",
    "http-only": "CSRF_COOKIE_HTTPONLY = True",
    "cookie": "CSRF_COOKIE_NAME = 'other'",
    "header": "CSRF_HEADER_NAME = 'HTTP_X_OTHER'",
}
NOT_SIGNED_IN = "You are signed out."


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        yield browser


@pytest.fixture(scope="module")
def project(cookies_session, environment):
    """A project with tokens, and the environment of its commands."""
    project = bake(cookies_session, auth="token")
    for name, line in HIDDEN.items():
        text = f"from config.settings import *\n\n{line}\n"
        (project / "config" / f"{name.replace('-', '_')}.py").write_text(text)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
    return project, environ


@pytest.fixture(params=["default"])
def site(request, project):
    """The site with one of the settings."""
    folder, environ = project
    module = f"config.{request.param.replace('-', '_')}"
    with start_site([*MANAGE, "serve"], folder, {**environ, "DJANGO_SETTINGS_MODULE": module}) as site:
        yield site


@pytest.fixture
def ann(site):
    return Person(site, "token")


@pytest.fixture
def visit(browser, site):
    """A function that opens a window. At the end, no console may contain an unexpected problem."""
    visits = Visits(browser, site.url)
    yield visits
    visits.check()
    visits.close()


@pytest.mark.parametrize("site", HIDDEN, indirect=True)
def test_page_finds_its_csrf_token(visit, ann):
    """A room gets a ticket, whatever the cookie is called or hidden."""
    expect(visit(ann, "/chat/lobby/").status).to_have_text("Connected")


def test_page_survives_a_new_csrf_token(visit, ann):
    """A login in another window changes the token of the browser. The page takes the new one."""
    visit.expect_problem(f"{OUTAGE}|/api/ticket/ 403|status of 403")
    window = visit(ann, "/chat/lobby/")
    expect(window.status).to_have_text("Connected")
    context = window.page.context
    window.lose_network()
    (cookie,) = [cookie for cookie in context.cookies() if cookie["name"].endswith("csrftoken")]
    context.add_cookies([{**cookie, "value": "x" * 32}])
    context.set_offline(False)
    expect(window.status).to_have_text("Connected")


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_failed_ticket_is_not_a_sign_out(visit, ann, status):
    """If the site fails to issue a ticket, the page retries."""
    visit.expect_problem(rf"/api/ticket/ ({status}|net::ERR_ABORTED)|status of {status}")  # aborted by the retry
    window = visit(ann, "/accounts/tokens/")
    window.page.route("**/api/ticket/", lambda route: route.fulfill(status=status))
    with window.page.expect_response("**/api/ticket/"):
        window.page.goto("/chat/lobby/")
    expect(window.status).to_have_text("Connecting…")
    window.page.unroute("**/api/ticket/")
    expect(window.status).to_have_text("Connected")


def test_user_creates_and_revokes_a_token(visit, site, ann):
    """The page shows the new token once. Revoking it closes its sockets."""
    window = visit(ann, "/")
    page = window.page
    page.get_by_role("link", name="Tokens").click()
    window.fill_in("Create a token", {"Name": "W" * 100})
    token = page.locator("code", has_text="site_").text_content()
    with open_socket(site, "/ws/chat/lobby/", subprotocols=["bearer", token]) as socket:
        assert receive(socket)["user"] == ann.name
        page.get_by_role("link", name="Tokens").click()
        expect(page.locator("code", has_text="site_")).to_have_count(0)
        row = page.get_by_role("listitem").filter(has_text="W" * 100)
        expect(row.locator("dt")).to_have_text(["Created", "Last used", "Ends"])
        expect(row.locator("dd time")).to_have_count(3)
        with page.expect_navigation():
            row.get_by_role("button", name="Revoke").click()
        assert close_code(socket) == 4403
    expect(row).to_have_count(0)
