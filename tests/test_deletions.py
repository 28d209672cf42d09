"""Deletion of one sample app: its folder and its lines in `config/`. The other apps pass their checks and tests."""

import re

import pytest
from support.differences import content, difference
from support.emitted import FAST, bake, environ_for, run
from support.matrix import APPS, CHOICES, PYTHONS, apps_of, combinations, spread
from support.pages import DELETE, commands, dead_links

# Apps that another one imports, with the apps that go with them.
DEPENDENTS: dict[str, list[str]] = {}
# The navigation shows the apps that have a URL.
MENTIONS = {"templates/base.html", *(f"locale/de/LC_MESSAGES/django.{kind}" for kind in ("mo", "po"))}

WORKER = "the worker"  # the section after those of the apps
KUBERNETES = {"deploy": "kubernetes", "channel_layer": "redis", "database": "postgresql"}
# Traces of the other apps and the worker: the routes of `manage.py runworker`, `realtime.feeds`, the navigation and two
# sentences.
TRACES = {
    *("config/asgi.py", "config/routing.py", "config/settings.py"),
    *("templates/base.html", "locale/de/LC_MESSAGES/django.po", "README.md"),
    "docs/platforms.md",  # keeps Redis
}


def parameters():
    """Return each app in both styles, with each sign-in that it supports. The other answers take turns.

    The third value is true for one project of each app, whose tests are all run.
    """
    for number, app in enumerate(APPS):
        supported = [auth for auth in CHOICES["auth"] if app in apps_of({"auth": auth, "examples": "all"})]
        questions = ("server", "channel_layer", "database", "django_version")
        runs = spread(combinations("consumers"), *questions, auth=supported)
        for turn, answers in enumerate(runs):
            yield pytest.param(app, answers, turn == number % len(runs), id="-".join([app, *answers.values()]))


def deletion(project, app):
    """Return the commands of the page that deletes an app."""
    folder = project / "docs" / "recipes"
    if app == "chat":
        return commands((folder / f"{DELETE}.md").read_text(encoding="utf-8"))
    page = (folder / "delete-an-app.md").read_text(encoding="utf-8")
    title = app[0].upper() + app[1:]
    return commands(page.partition(f"## {title}\n")[2].partition("\n## ")[0])


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("app", "answers", "is_tested"), list(parameters()))
def test_app_can_be_deleted(app, answers, is_tested, cookies, environment, services):
    """No other file mentions the app, no migration is missing, and the linters and tests of the rest find nothing."""
    project = bake(cookies, **answers, examples="all")
    environ = environ_for(environment(PYTHONS[-1], answers["django_version"]), **FAST, **services(answers))
    run(["uv", "run", "python", "manage.py", "migrate"], project, environ)
    deleted = [*DEPENDENTS.get(app, []), app]
    steps = [deletion(project, name) for name in deleted]  # the chat's page goes with the chat
    before = programs(project)
    for command in (command for step in steps for command in step):
        run(["sh", "-c", command], project, environ)
    assert mentions(project, deleted) == []
    assert (dead_links(project), dead_commands(project, before - programs(project))) == ([], [])
    run(["uv", "run", "python", "manage.py", "makemigrations", "--check"], project, environ)
    if is_tested:
        run(["make", "lint"], project, environ)
        assert " passed" in run(["uv", "run", "pytest"], project, environ, timeout=400)
    else:
        run(["uv", "run", "ruff", "check", "--no-cache"], project, environ)
        assert " passed" in run(["uv", "run", "pytest", "tests"], project, environ)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("examples", ["chat", "all"])
def test_apps_of_the_user_stay(examples, cookies, environment):
    """All sample apps can be deleted, the chat at the end, and new apps stay, whatever their names begin with."""
    answers = {"auth": CHOICES["auth"][0], "examples": examples}
    project = bake(cookies, **answers)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), **FAST)
    run(["uv", "run", "python", "manage.py", "migrate"], project, environ)
    deleted = sorted(apps_of(answers), key="chat".__eq__)
    new = ["dice", *(f"{app}2" for app in deleted), *(f"my{app}" for app in deleted)]
    for name in new:
        run(["uv", "run", "python", "manage.py", "startconsumer", name], project, environ)
    before = programs(project)
    if examples == "all":
        deleted.insert(-1, WORKER)
    for command in (command for name in deleted for command in deletion(project, name)):
        run(["sh", "-c", command], project, environ)
    assert mentions(project, set(deleted) - {WORKER}) == []
    assert (dead_links(project), dead_commands(project, before - programs(project))) == ([], [])
    run(["uv", "run", "python", "manage.py", "makemigrations", "--check"], project, environ)
    run(["uv", "run", "ruff", "check", "--no-cache"], project, environ)
    assert " passed" in run(["uv", "run", "pytest", "tests", *new], project, environ)


@pytest.mark.parametrize(
    "answers",
    [{}, {"auth": "token", **KUBERNETES}, {"auth": "none", "deploy": "none"}],
    ids=["docker", "kubernetes", "none"],
)
def test_what_is_left_is_a_chat(answers, cookies):
    """Without the other apps and the worker, a project has the files of one that has the chat only."""
    project, chat = bake(cookies, **answers, examples="all"), bake(cookies, **answers, examples="chat")
    before = programs(project)
    apps = apps_of({"auth": CHOICES["auth"][0], **answers, "examples": "all"})
    for name in [*(app for app in apps if app != "chat"), WORKER]:
        for command in deletion(project, name):
            if not command.startswith("uv run "):
                run(["sh", "-c", command], project, environ_for(project))
    changed = difference(content(project), content(chat))
    assert {name for name in changed if "docs/recipes/" not in name} <= TRACES
    assert programs(project) == programs(chat)
    assert (dead_links(project), dead_commands(project, before - programs(project))) == ([], [])


def test_chat_may_go_first(cookies):
    """All others may be deleted after it, and leave no empty section."""
    project, empty = bake(cookies, examples="all"), content(bake(cookies, examples="none"))
    *others, _ = sorted(apps_of({"auth": CHOICES["auth"][0], "examples": "all"}), key="chat".__eq__)
    for name in ["chat", *others, WORKER]:
        for command in deletion(project, name):
            if "uv run " not in command:
                run(["sh", "-c", command], project, environ_for(project))
    left = content(project)
    changed = difference(left, empty)
    assert {name for name in changed if "docs/recipes/" not in name} <= {*TRACES, "AGENTS.md", "SECURITY.md"}
    assert (dead_links(project), b"# Limits" in left["config/settings.py"]) == ([], False)


def programs(project):
    """Return the names of services, and of the commands of `manage.py` that apps have."""
    compose = project / "compose.yaml"
    services = re.findall(r"^  ([\w-]+):$", compose.read_text(), re.M) if compose.exists() else []
    manifests = [path.stem for path in project.glob("deploy/kubernetes/*.yaml")]
    return {*services, *manifests, *(path.stem for path in project.glob("*/management/commands/[a-z]*.py"))}


def dead_commands(project, names):
    """Return the lines of pages with a command that names one of the programs."""
    word = re.compile(rf"(compose|deployment/|manage\.py|site@|make|=).*\b({'|'.join(names)})\b" if names else "(?!)")
    pages = [
        page for page in project.rglob("*.md") if page.name != "delete-an-app.md" and page.parent.name != "realtime"
    ]
    return [line for page in pages for line in page.read_text(encoding="utf-8").splitlines() if word.search(line)]


def mentions(project, apps):
    """Return the lines that name one of the apps, outside of pages, pipelines and the engine."""
    word = re.compile(rf"\b({'|'.join(apps)})\b(?!\.example)", re.I)
    found = []
    for name, data in content(project).items():
        if name.startswith(("realtime/", ".github/")) or name.endswith((".md", ".pyc", ".sqlite3")) or name in MENTIONS:
            continue
        lines = data.decode(errors="replace").splitlines()
        found += [f"{name}: {line}" for line in lines if word.search(line)]
    return found
