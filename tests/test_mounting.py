"""Pages and sockets at other paths: docs/recipes/mount-elsewhere.md, followed and visited in a real browser."""

import contextlib
import re
import shutil
import subprocess

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import Visits, launch
from support.client import PASSWORD
from support.emitted import FAST, bake, environ_for, run
from support.matrix import PYTHONS, TEMPLATE, combinations, label, spread
from support.pages import MOUNTS, commands
from support.programs import ROOTS, require_programs
from support.servers import free_port, listens, start_site, wait_until

# Each server and sign-in. A proxy removes the prefix, passes it on, or is missing.
SITES = spread(combinations("server"), "consumers", "auth", proxy=["removes", "passes", ""])
# Paths in attributes, strings and calls. A name that ends a topic or a path is none.
PATHS = re.compile(r"""["'`]/(?=[\w{<$])(?<!endswith\("/)|\b(?:\w*[Rr]edirect|notify\w*)\(.*["']/["']|\w="/""")
WRITTEN = ("startconsumer.py", "route = resolve(f")  # at a path that the same command writes
MANAGE = ["uv", "run", "python", "manage.py"]
SEED = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
from devices.models import Device
Device.objects.create(name="lamp")
"""
NGINX = """
daemon off;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /sub/ {{
            proxy_pass http://127.0.0.1:{site}{path};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"""


def paths_in(name, text):
    """Return the lines of a file that contain a path of this site."""
    lines = [line for line in text.splitlines() if PATHS.search(line)]
    return [f"{name}: {line}" for line in lines if (name, line.strip()[: len(WRITTEN[1])]) != WRITTEN]


@pytest.mark.quick
def test_no_page_script_or_view_contains_a_path():
    """Paths come from the names of routes, in the engine, in apps, and in apps that the engine writes."""
    found, read = [], 0
    for path in (TEMPLATE / "{{cookiecutter.project_slug}}").rglob("*"):
        is_test = "tests" in path.parts[len(TEMPLATE.parts) :] or path.name == "conftest.py"
        if not is_test and path.name.removesuffix("-tpl").endswith((".html", ".js", ".py")):
            found += paths_in(path.name, path.read_text(encoding="utf-8"))
            read += 1
    assert (found, read > 200) == ([], True)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("line", "is_path"),
    [
        ('<a href="/accounts/login/">', True),
        ("<a href=\"/ws{% url 'room' name %}\">", True),
        ("<a href='/{{ name }}/'>", True),
        ("const url = `/${name}/`;", True),
        ('fetch("/api/ticket/")', True),
        ('return redirect("/")', True),
        ('notify(user, "Welcome", "/")', True),
        ('import { copies } from "./copy.js";', False),
        ('topic.endswith("/stored")', False),
        ('path.strip("/")', False),
    ],
)
def test_path_is_found(line, is_path):
    """The search finds paths in attributes, strings and redirects, and no other slashes."""
    assert paths_in("page", line) == ([f"page: {line}"] if is_path else [])


@contextlib.contextmanager
def nginx(folder, port, site, path):
    """Run a proxy that serves a site below /sub/. With a path, it replaces the prefix."""
    require_programs({"nginx": "nginx-light"})
    folder.mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=port, site=site, path=path))
    process = subprocess.Popen([shutil.which("nginx", path=ROOTS), "-p", folder, "-c", configuration])
    try:
        wait_until(lambda: listens(port), "nginx")
        yield
    finally:
        process.terminate()
        process.wait(10)


def mount(project, environ):
    """Follow the recipe, then move the other apps, the admin, and all sockets as it moves those of the chat."""
    for command in commands((project / "docs" / "recipes" / f"{MOUNTS}.md").read_text(encoding="utf-8")):
        run(["sh", "-c", command], project, environ)
    run(["uv", "run", "ruff", "check", "--no-cache"], project, environ)
    run(["uv", "run", "ruff", "format", "--check", "--no-cache"], project, environ)
    urls, routing, settings = (project / "config" / f"{name}.py" for name in ("urls", "routing", "settings"))
    content = urls.read_text(encoding="utf-8")
    content = re.sub(r'path\("", include\("(?!realtime)', 'path("community/", include("', content)
    urls.write_text(content.replace('"admin/"', '"community/admin/"'), encoding="utf-8")
    content = routing.read_text(encoding="utf-8")
    content = re.sub(r"\*(\w+\.routing\.websocket_urlpatterns)", r'path("live/", URLRouter(\1))', content)
    routing.write_text(content, encoding="utf-8")
    public = "\nDASHBOARD_PUBLIC = True\n"
    settings.write_text(settings.read_text(encoding="utf-8") + public, encoding="utf-8")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("answers", SITES, ids=label)
def test_site_works_at_other_paths(answers, cookies, environment, tmp_path):
    """Each page has its style, and its socket welcomes it, where pages, sockets and the whole site are moved."""
    answers = {**answers}
    proxy, auth = answers.pop("proxy"), answers["auth"]
    project = bake(cookies, **answers, examples="all")
    front, port = free_port(), free_port()
    prefix = "/sub" if proxy else ""
    origin = f"http://127.0.0.1:{front if proxy else port}"
    variables = {"ALLOWED_ORIGINS": origin, **({"FORCE_SCRIPT_NAME": prefix} if proxy else {})}
    environ = environ_for(environment(PYTHONS[-1], "6.1"), **FAST, **variables)
    mount(project, environ)
    if not proxy:
        run(["uv", "run", "pytest", "chat/tests/test_pages.py", "chat/tests/test_live.py"], project, environ)
    run([*MANAGE, "shell", "-c", SEED], project, environ)
    with contextlib.ExitStack() as stack:
        if proxy:
            stack.enter_context(nginx(tmp_path / "nginx", front, port, "/" if proxy == "removes" else ""))
        site = stack.enter_context(start_site([*MANAGE, "serve"], project, environ, port))
        assert site.probe("healthz") == (200, "ok\n")
        browser = stack.enter_context(launch(stack.enter_context(sync_playwright()), "chromium"))
        visits = Visits(browser, origin)
        see_site(visits, f"{prefix}/de/community", f"{prefix}/live/ws", auth)
        visits.check()
        visits.close()


def see_site(visits, pages, sockets, auth):
    """Sign up on the way to a room, write there, then open a page of each app. All pages are German."""
    welcomed = set()

    def on_socket(socket):
        path = socket.url.partition("?")[0].removeprefix(visits.url.replace("http", "ws"))
        socket.on("framereceived", lambda _: welcomed.add(path))

    window = visits(None, f"{pages}/jobs/")
    page = window.page
    if auth != "none":
        assert page.url == f"{visits.url}{pages}/accounts/login/?next={pages}/jobs/"
        page.get_by_role("link", name="Registrieren").click()
        for name, value in {"username": "ann", "password1": PASSWORD, "password2": PASSWORD}.items():
            page.locator(f"[name={name}]").fill(value)
        with page.expect_navigation():
            page.get_by_role("button", name="Registrieren").click()
    assert page.url == f"{visits.url}{pages}/jobs/"
    page.on("websocket", on_socket)
    for path in ("jobs", "chat/lobby", "devices", "devices/lamp", "dashboard", "assistant"):
        page.goto(f"{pages}/{path}/")
        socket = f"{sockets}/{path}/"
        match path:
            case "jobs":
                page.get_by_role("button", name="Bericht erstellen").click()
                expect(page.get_by_role("listitem")).to_have_count(1)
            case "chat/lobby":
                window.box = page.get_by_role("textbox", name="Nachricht")
                window.send("hi")
                assert [text for *_, text in window.transcript(1)] == ["hi"]
            case "assistant":
                page.get_by_role("button", name="Neue Unterhaltung").click()
                socket += "1/"
        wait_until(lambda socket=socket: page.wait_for_timeout(20) or socket in welcomed, f"a welcome of {socket}")
    if auth != "none":
        expect(page.locator(".bell .count")).to_have_text("1")
        assert f"{sockets}/notifications/" in welcomed
        page.goto(f"{pages}/admin/password_change/")
        assert page.url.startswith(f"{visits.url}{pages}/admin/login/")
        expect(page.locator("link[rel=icon]")).to_have_count(1)
