"""Sample apps: a project without them works, and the recipe that deletes the chat leads to the same project."""

import re

import httpx
import pytest
from support.client import csrf_token
from support.differences import content, difference
from support.emitted import FAST, bake, environ_for, run
from support.matrix import PYTHONS, covering, label
from support.pages import commands, dead_links
from support.servers import start_site

COMBINATIONS = covering("server", "channel_layer", "consumers", "auth", "database")
KUBERNETES = {"deploy": "kubernetes", "channel_layer": "redis", "database": "postgresql"}
RECIPE = "docs/recipes/delete-the-chat.md"
# Lines of a user, each with the text before it.
OWN = {
    "config/urls.py": ("from chat.views import rooms\n", "from django.views.generic import View  # own\n"),
    "config/settings.py": ("override them here.\n\n", "REALTIME_RATE = 30  # own\n"),
    ".env.example": ("MESSAGE_RETENTION_DAYS=", "12345"),
    "Makefile": (" lint load", " own"),
    "README.md": ("\n## Test\n", "\nOwn words.\n"),
}
CHAT = r'(?<!"examples": ")(?<!beside the )\bchat\b(?!\.example)'  # but the answer
PAGES = "asyncapi|change|on-my-phone|platforms|protocol|recipes/delete-an-app|troubleshooting|without|`"
WORDS = rf"{CHAT}|\brooms?\b|\bretention|docs/(?!{PAGES})"
SERVE = ["uv", "run", "python", "manage.py", "serve"]


def follow(project, environ):
    """Run the commands of the recipe in their order."""
    page = (project / RECIPE).read_text(encoding="utf-8")
    assert len(re.findall(r"^\d\. ", page, re.M)) <= 6
    for command in commands(page):
        run(["sh", "-c", command], project, environ)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("answers", COMBINATIONS, ids=label)
def test_chat_can_be_deleted(answers, cookies, environment, services):
    """The recipe has at most six steps. Linters, tests and pages of what is left pass."""
    project = bake(cookies, **answers)
    environ = environ_for(environment(PYTHONS[-1], "6.1"), **FAST, **services(answers))
    run(["uv", "run", "python", "manage.py", "migrate"], project, environ)
    follow(project, environ)
    files, empty = files_of(project), files_of(bake(cookies, **answers, examples="none"))
    changed = {name for name in difference(files, empty) if "__pycache__" not in name and "sqlite3" not in name}
    assert changed == set()
    run(["uv", "run", "python", "manage.py", "makemigrations", "--check"], project, environ)
    run(["make", "lint"], project, environ)
    assert " passed" in run(["make", "test"], project, environ, timeout=300)
    see_start_page(project, environ, answers["auth"])


def files_of(project):
    """Return the files of a project, and the list of its answers."""
    return {**content(project), "answers": (project / ".cookiecutter.yaml").read_bytes()}


def see_start_page(project, environ, auth):
    """Open the pages that are left, as a visitor who signs up if there are accounts."""
    with (
        start_site(SERVE, project, environ) as site,
        httpx.Client(base_url=site.url, trust_env=False, follow_redirects=True) as visitor,
    ):
        page = visitor.get("/")
        if auth != "none":
            assert page.url.path == "/accounts/login/"
            fields = {"username": "ann", "password1": "correct horse battery", "password2": "correct horse battery"}
            token = csrf_token(visitor.get("/accounts/signup/"))
            headers = {"Origin": site.url, "Referer": f"{site.url}/"}
            page = visitor.post("/accounts/signup/", data={**fields, "csrfmiddlewaretoken": token}, headers=headers)
        assert (page.status_code, page.url.path) == (200, "/")
        assert "startconsumer" in page.text
        assert visitor.get("/chat/lobby/").status_code == 404
        assert visitor.get("/admin/login/").status_code == (404 if auth == "none" else 200)


def follow_without_tables(project):
    _, *steps = commands((project / RECIPE).read_text(encoding="utf-8"))
    for command in steps:
        run(["sh", "-c", command], project, environ_for(project))


def test_recipe_applies_to_a_cluster(cookies):
    """The result is the same for a project with manifests."""
    project, empty = bake(cookies, **KUBERNETES), bake(cookies, **KUBERNETES, examples="none")
    follow_without_tables(project)
    assert difference(files_of(project), files_of(empty)) == set()


def test_own_lines_stay(cookies):
    """Lines of the user beside those of the chat neither stop the commands nor go with them."""
    project, empty = bake(cookies), content(bake(cookies, examples="none"))
    for name, (before, own) in OWN.items():
        path = project / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1
        path.write_text(text.replace(before, before + own), encoding="utf-8")
    follow_without_tables(project)
    left = content(project)
    assert difference(left, empty) == OWN.keys() - {".env.example"}
    assert [name for name, (_, own) in OWN.items() if own.encode() not in left[name]] == [".env.example"]


@pytest.mark.quick
@pytest.mark.parametrize("answers", [*COMBINATIONS, KUBERNETES], ids=label)
def test_nothing_else_mentions_the_chat(answers, cookies):
    """Without the chat, no file outside of the engine speaks of it, and links lead somewhere."""
    project = bake(cookies, **answers, examples="none")
    found = []
    for name, data in content(project).items():
        # A compiled catalog is the same for all answers.
        if name.startswith("realtime/") or name == "pyproject.toml" or name.endswith(".mo"):
            continue
        found += [f"{name}: {match[0]}" for match in re.finditer(WORDS, data.decode(), re.I)]
    assert (found, dead_links(project)) == ([], [])
