"""Advice of docs/troubleshooting.md is followed, and the symptoms go."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from playwright.sync_api import sync_playwright
from support.browsers import launch
from support.client import Person, csrf_token, open_socket, receive
from support.debugger import Debugger
from support.emitted import bake, environ_for, production_values, run
from support.matrix import CHOICES, PYTHONS
from support.pages import commands
from support.router import OWN_ADDRESS, router
from support.servers import free_port, start_site
from websockets.exceptions import InvalidStatus

SERVE = ["uv", "run", "python", "manage.py", "runserver", "--noreload"]
INLINE = "<title>Before</title><script%s>document.title = 'After'</script>"
HEAD = """

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def closed(request: HttpRequest) -> HttpResponse:
    raise AssertionError


def about(request: HttpRequest) -> HttpResponse:
    return render(request, "about.html")


"""
TAIL = """

urlpatterns += [
    path("closed/", closed),
    path("open/", login_not_required(about)),
    path("editor/", login_not_required(editor)),
]
"""


def python_of(page):
    """Return the code of a page that gives one view a policy of its own."""
    (code,) = [code for code in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "unsafe-inline" in code]
    return code.replace(" -> HttpResponse: ...", ' -> HttpResponse:\n    return render(request, "editor.html")')


@pytest.mark.parametrize("django", CHOICES["django_version"])
def test_scripts_run_where_they_are_allowed(django, cookies, environment):
    """An inline script runs with a nonce, or in a page with a policy of its own. Only an open page needs no sign-in."""
    project = bake(cookies, django_version=django)
    page = (project / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    environ = environ_for(environment(PYTHONS[-1], django))
    has_nonces = "csp_nonce" in page
    assert has_nonces == (django != "5.2")
    nonce = re.search(r"`<script( nonce=.*?)>`", page)[1] if has_nonces else ""
    (project / "templates" / "about.html").write_text(INLINE % nonce, encoding="utf-8")
    urls = project / "config" / "urls.py"
    urls.write_text(urls.read_text(encoding="utf-8") + HEAD + python_of(page) + TAIL, encoding="utf-8")
    run(["uv", "run", "python", "manage.py", "migrate"], project, environ)

    def titles():
        with (
            start_site(SERVE, project, environ) as site,
            sync_playwright() as playwright,
            launch(playwright, "chromium") as browser,
        ):
            answer = httpx.get(f"{site.url}/closed/", trust_env=False, timeout=30, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (302, "/accounts/login/?next=/closed/")
            window = browser.new_page()
            found = []
            for path in ("open", "editor"):
                window.goto(f"{site.url}/{path}/")
                found.append(window.title())
            return found

    (project / "templates" / "editor.html").write_text(INLINE % "", encoding="utf-8")
    assert titles() == ["Before", "After"]
    if has_nonces:
        run(["git", "apply", "docs/troubleshooting.md"], project, environ)
        assert titles() == ["After", "After"]
        (project / "templates" / "editor.html").unlink()
        run(["uv", "run", "pytest", "tests/test_site.py"], project, environ)


def test_commands_name_the_cause(cookies, environment):
    """On a site with the symptoms, each command of the page prints the line that the page explains."""
    project = bake(cookies)
    page = (project / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    run(["uv", "run", "python", "manage.py", "migrate"], project, environ)
    urls = project / "config" / "urls.py"
    closed = '\n\nurlpatterns.append(path("about/", include("chat.urls")))\n'
    urls.write_text(urls.read_text(encoding="utf-8") + closed, encoding="utf-8")
    handshake, _, login, policy, _ = [command for command in commands(page) if command.startswith("curl ")]
    (publish,) = [command for command in commands(page) if "publish(" in command]
    with start_site(SERVE, project, environ) as site:

        def see(command):
            return run(["sh", "-c", command.replace("http://127.0.0.1:8000", site.url)], project, environ)

        assert see(handshake).endswith("https://nginx.org/en/docs/http/websocket.html")
        handshake = handshake.replace("http://127.0.0.1:8000", "https://chat.example.com", 1)
        assert see(handshake).endswith("Add https://chat.example.com to ALLOWED_ORIGINS.")
        private = see(login.replace("about/", "about/private/"))
        assert "\r\nlocation: /accounts/login/?next=/about/private/\r\n" in private
        assert "default-src 'self'" in see(policy)
        httpx.post(site.url, trust_env=False)
        assert "Forbidden (CSRF cookie not set.): /" in site.log.read_text()
    assert "The in-memory channel layer does not reach the server's process" in see(publish)


def test_published_event_arrives(cookies, environment, services):
    """The command of the page reaches an open page of the group, from another process."""
    answers = {"channel_layer": "redis", "auth": "none", "database": "sqlite"}
    project = bake(cookies, **answers)
    page = (project / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), **services(answers))
    run(["uv", "run", "python", "manage.py", "migrate"], project, environ)
    group = run(
        [*SERVE[:-2], "shell", "-c", "from chat.models import room_group; print(room_group('lobby'))"], project, environ
    ).split()[-1]
    command = command_of(page, r"publish\(\) reaches no page").replace("'news'", repr(group))
    event = json.loads(re.search(r"get `(\{.*\})`", page)[1])
    with start_site(SERVE, project, environ) as running, Person(running, "none").connect("lobby") as socket:
        assert receive(socket)["type"] == "welcome"
        run(["sh", "-c", command], project, environ)
        assert receive(socket) == event


@pytest.fixture(scope="module")
def site(cookies_session, environment):
    """Set up a project. Return it, its page on troubleshooting, and its environment."""
    project = bake(cookies_session)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    run(["uv", "run", "python", "manage.py", "migrate"], project, environ)
    return project, (project / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), environ


def command_of(page, heading):
    """Return the command of a section."""
    (command,) = commands(re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", page, re.M | re.S)[1])
    return command


def test_refused_origin_is_named(site):
    """The command of the page names the origin whose sockets get 403, and no other."""
    project, page, environ = site
    command = command_of(page, "A socket answers 403")
    foreign = "https://chat.example.com"

    def see(running):
        return run(["sh", "-c", command.replace("http://127.0.0.1:8000", running.url)], project, environ)

    with start_site(SERVE, project, environ) as running:
        assert see(running).endswith(f"Add {foreign} to ALLOWED_ORIGINS.")
        with pytest.raises(InvalidStatus, match="403"):
            open_socket(running, "/ws/chat/lobby/", origin=foreign)
        assert f"event=origin_refused origin={foreign}" in running.log.read_text()
    with start_site(SERVE, project, {**environ, "ALLOWED_ORIGINS": foreign}) as running:
        assert "It allows this origin." in see(running)
        with open_socket(running, "/ws/chat/lobby/", origin=foreign) as socket:
            assert socket.response.status_code == 101


def test_template_without_a_token_is_listed(site):
    """The command of the page lists the template whose form gets 403, and none once it has the token."""
    project, page, environ = site
    command = command_of(page, 'A form answers 403, "Form expired"')
    template = project / "templates" / "registration" / "login.html"
    template.parent.mkdir()
    content = (project / "accounts" / "templates" / "registration" / "login.html").read_text(encoding="utf-8")
    for text, listed, status in (
        (content.replace("{% csrf_token %}", ""), "./templates/registration/login.html\n", 403),
        (content, "", 200),
    ):
        template.write_text(text, encoding="utf-8")
        assert run(["sh", "-c", f"{command}; true"], project, environ) == listed
        with (
            start_site(SERVE, project, environ) as running,
            httpx.Client(base_url=running.url, trust_env=False, timeout=30) as visitor,
        ):
            form = visitor.get("/accounts/login/")
            token = {"csrfmiddlewaretoken": csrf_token(form)} if "csrfmiddlewaretoken" in form.text else {}
            answer = visitor.post("/accounts/login/", data={"username": "ann", "password": "x", **token})
            assert (answer.status_code, "Form expired" in answer.text) == (status, status == 403)
    template.unlink()


def test_endless_redirect_is_shown(site):
    """The command of the page repeats the address until the site believes its proxy."""
    project, page, environ = site
    command = command_of(page, "Too many redirects")
    environ = {**environ, **production_values(project), "DATABASE_URL": "sqlite:///db.sqlite3"}
    run(["uv", "run", "python", "manage.py", "collectstatic", "--no-input", "--verbosity", "0"], project, environ)
    for trusted, times in (("127.0.0.1", 6), (OWN_ADDRESS, 0)):
        port = free_port()
        with router(port, to="127.0.0.1") as front:
            changed = {"ALLOWED_HOSTS": "localhost", "ALLOWED_ORIGINS": front.url, "FORWARDED_ALLOW_IPS": trusted}
            with start_site([*SERVE[:-2], "serve"], project, environ | changed, port) as running:
                ask = command.replace("https://chat.example.com", front.url).replace("curl ", "curl --insecure ")
                answer = run(["sh", "-c", f"{ask}; true"], project, environ)
                assert answer.lower().splitlines() == [f"location: {front.url}/"] * times
    assert f"X-Forwarded-Proto of {OWN_ADDRESS} is ignored" in running.log.read_text()  # both sites share it


def test_ide_stops_in_a_view(site):
    """The command of the page lets a debugger attach to the reloader's child and stop in a view."""
    project, page, environ = site
    port = free_port()
    command = command_of(page, "A breakpoint stops everything").replace("5678", str(port))
    environ = {name: value for name, value in environ.items() if name != "UV_OFFLINE"}
    path = project / "chat" / "views.py"
    (line, *_) = [n for n, text in enumerate(path.read_text().splitlines(), 1) if "welcome.html" in text]
    with start_site(command.split(), project, environ) as running, ThreadPoolExecutor() as visitor:
        parent = Debugger(("127.0.0.1", port), {"name": "site"}, str(path), line)
        configuration = parent.receive("debugpyAttach")
        child = Debugger(tuple(configuration["connect"].values()), configuration, str(path), line)
        child.receive("attach")
        answer = visitor.submit(httpx.get, running.url, trust_env=False, timeout=30)
        stopped = child.receive("stopped")
        assert (stopped["reason"], answer.done()) == ("breakpoint", False)
        child.request("continue", threadId=stopped["threadId"])
        assert answer.result().status_code == 200


@pytest.mark.parametrize("consumers", CHOICES["consumers"])
def test_test_waits_at_a_prompt(consumers, cookies, environment):
    """A test with a breakpoint in a consumer passes after seven seconds, with the variable of the page."""
    project = bake(cookies, consumers=consumers)
    page = (project / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`(TEST_TIMEOUT=\d+ uv run pytest -k) name`", page)
    code = project / "chat" / "consumers.py"
    text, count = re.subn(r"(def handle_send.*\n.*\n)", r"\1        breakpoint()\n", code.read_text(encoding="utf-8"))
    code.write_text(text, encoding="utf-8")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    prompt = f"(until grep -q '(Pdb)' log; do sleep 0.1; done; sleep 7; yes c | head -99) | {command} one_display_name"
    run(["sh", "-c", f"touch log; {prompt} > log"], project, environ)
    assert (count, (project / "log").read_text().count("1 passed")) == (1, 1)


@pytest.mark.quick
def test_symptoms_are_headings(cookies):
    """A reader who searches the page for words of a symptom finds one section."""
    page = (bake(cookies) / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    symptoms = "Connecting… | socket answers 403 | 302 | publish() | Too many redirects | script | password | phone"
    found = {words: re.findall(rf"^## .*{re.escape(words)}", page, re.M) for words in symptoms.split(" | ")}
    assert {words: len(headings) for words, headings in found.items()} == dict.fromkeys(found, 1)
