"""Static checks of every core combination, while databases and Djangos take turns."""

import hashlib
import json
import os
import re
import subprocess
import tomllib
import zlib

import pytest
from support.emitted import TEMPLATE, bake, environ_for, production_values, run
from support.matrix import CHOICES, CORE, PYTHONS, combinations, is_quick, label, spread

COMBINATIONS = spread(combinations(*CORE), "database", "django_version")
# All sample apps: in each style, for each sign-in and Django.
ALL = {"examples": ["all"]}
COMBINATIONS += spread(combinations("consumers", "auth", "django_version"), *CORE, "database", **ALL)
MARKS = [f".{choice}" for key in ("server", "channel_layer", "consumers", "auth", "license") for choice in CHOICES[key]]
MARKS.append(".all")

# One process for both commands: starting Django takes longer than either.
CHECKS = "import django; django.setup(); from django.core.management import call_command; "
DEVELOPMENT = CHECKS + "call_command('check'); call_command('makemigrations', check=True, dry_run=True)"
PRODUCTION = CHECKS + "call_command('check', deploy=True, databases=['default'], fail_level='WARNING')"


# mypy analyses Django and other libraries again if INSTALLED_APPS or Django's version differ, which takes longer than
# the rest. Combinations with both in common form a group, which one worker checks on one Python.
def in_common(answers):
    return answers["django_version"], answers["auth"] == "none", "examples" in answers


GROUPS = sorted({in_common(answers) for answers in COMBINATIONS})


def group_of(answers):
    return GROUPS.index(in_common(answers))


@pytest.fixture(scope="session")
def check_types(tmp_path_factory):
    """Return a function that runs mypy on a project, with the group's cache of the libraries.

    Projects of a group with the same Python files and the same configuration are checked once. mypy takes a file for
    unchanged if its time is, so files with the same content get the same time.
    """
    caches = tmp_path_factory.mktemp("mypy")
    clean = set()

    def check(project, group, environ):
        sources = group, digest(project)
        if sources in clean:
            return
        for path in project.rglob("*.py"):
            seconds = zlib.crc32(path.read_bytes())
            os.utime(path, (seconds, seconds))
        cache = caches / str(group)
        run(["uv", "run", "mypy", "--no-sqlite-cache", "--cache-dir", str(cache), "."], project, environ)
        clean.add(sources)

    return check


def digest(project):
    """Return a hash of what mypy reads of a project."""
    found = hashlib.sha256(repr(tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]).encode())
    for path in sorted(project.rglob("*.py")):
        found.update(f"{path.relative_to(project)}\0".encode() + path.read_bytes() + b"\0")
    return found.digest()


def leftovers(project):
    """Return the leftovers of generation, as lines with file and place."""
    found = []
    for path in sorted(path for path in project.rglob("*") if path.is_file() and path.suffix != ".mo"):
        name, content = path.relative_to(project).as_posix(), path.read_bytes()
        if any(path.name.endswith(mark) or f"{mark}." in path.name for mark in MARKS):
            found.append(f"{name}: the name of a choice")
        if not content and path.name not in {"__init__.py", "py.typed"}:
            found.append(f"{name}: empty")
        if b"\r" in content:
            found.append(f"{name}: CR")
        if (content and not content.endswith(b"\n")) or content.endswith(b"\n\n"):
            found.append(f"{name}: does not end with one line break")
        text = content.decode("utf-8")
        braces = (
            r"(?<!\.)cookiecutter[.[]"  # not the command, nor .cookiecutter.yaml
            if path.suffix in {".html", ".js", ".css", ".svg"}
            or name.startswith(("docs/recipes/", "docs/troubleshooting.md"))  # with Django templates
            or name.endswith("-tpl")  # Django templates themselves
            else r"(?<!\$)\{\{|\{%|\{#|%\}|#\}|(?<!\.)cookiecutter[.[]"  # GitHub's own expressions have a dollar
        )
        for number, line in enumerate(text.splitlines(), 1):
            # A pair of braces also ends f-strings and nested dicts, so only opening braces count.
            if re.search(braces, line) and not re.search(r'f".*\{\{', line):
                found.append(f"{name}:{number}: {line}")
        text = re.sub(r"^```python\n.*?^```$", "code", text, flags=re.DOTALL | re.MULTILINE)  # ruff checks these
        gap = r"\n\n\n\n" if path.suffix == ".py" or name.startswith("realtime/") else r"\n\n\n"
        if re.search(gap, text) or (text.startswith("\n") and not name.startswith("LICENSE")):
            found.append(f"{name}: more blank lines than belong there")
    found += [f"{path}: an empty folder" for path in project.rglob("*") if path.is_dir() and not any(path.iterdir())]
    return found


def parameters():
    for answers in COMBINATIONS:
        marks = [pytest.mark.xdist_group(f"static{group_of(answers)}")]
        if is_quick(answers):
            marks.append(pytest.mark.quick)
        yield pytest.param(answers, id=label(answers), marks=marks)


@pytest.mark.parametrize("answers", list(parameters()))
def test_combination_is_clean(answers, cookies, environment, services, check_types):
    """A combination has no leftovers, and passes ruff, mypy, Django's checks and the check for missing migrations."""
    group = group_of(answers)
    project = bake(cookies, **answers)
    shared = environment(PYTHONS[group.bit_count() % 2], answers["django_version"])
    running = services(answers)
    environ = environ_for(shared, **running)
    # The commands of `make lint`, with a cache that the projects of a worker share.
    lint = run(["make", "--dry-run", "lint"], project, environ).splitlines()
    assert lint == ["uv run ruff check", "uv run ruff format --check", "uv run mypy ."]

    assert leftovers(project) == []
    assert len((project / "README.md").read_text(encoding="utf-8").splitlines()) <= 60
    run(["uv", "run", "ruff", "check", "--no-cache"], project, environ)
    run(["uv", "run", "ruff", "format", "--check", "--no-cache"], project, environ)
    check_types(project, group, environ)
    python = ["uv", "run", "python", "-c"]
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings"}
    output = run([*python, DEVELOPMENT], project, environ | settings)
    assert output == "System check identified no issues (0 silenced).\nNo changes detected\n"
    check_for_production(answers, project, python, environ | settings | production_values(project) | running)


def check_for_production(answers, project, python, environ):
    """Check that `check --deploy` is silent with production's values, except about the in-memory layer."""
    done = subprocess.run([*python, PRODUCTION], cwd=project, env=environ, capture_output=True, text=True)
    issues = re.findall(r"^\S+: \((\S+)\)", done.stderr, re.MULTILINE)
    if answers["channel_layer"] == "in-memory":
        assert (issues, done.returncode) == (["realtime.E001"], 1), done.stderr
    else:
        assert (issues, done.returncode) == ([], 0), done.stderr
        # Django would warn that HSTS covers neither subdomains nor preload.
        assert done.stdout == "System check identified no issues (2 silenced).\n"


def test_pages_and_scripts_are_copied_as_they_are(cookies):
    """HTML, CSS and JavaScript are copied, not rendered, except for the files in the list."""
    scripts = {
        "chat": "room",
        "notifications": "bell",
        **{app: app for app in ("assistant", "dashboard", "devices", "jobs")},
    }
    rendered = {f"templates/site_{name}.html" for name in ("name", "description")}
    rendered |= {f"{app}/static/{app}/{name}.js" for app, name in scripts.items()}
    rendered.add("devices/static/devices/device.js")
    source = TEMPLATE / "{{cookiecutter.project_slug}}"
    copied = {}
    for answers in combinations("auth", "examples"):
        project = bake(cookies, **answers)
        for path in project.rglob("*"):
            if path.suffix in {".html", ".css", ".js", ".svg"}:
                copied.setdefault(path.relative_to(project).as_posix(), set()).add(path.read_bytes())
    originals = {}
    for path in source.rglob("*"):
        if path.suffix in {".html", ".css", ".js", ".svg"}:
            name = path.relative_to(source).as_posix()
            for mark in MARKS:
                name = name.replace(f"{mark}.", ".")
            originals.setdefault(name, set()).add(path.read_bytes())
    assert copied.keys() == originals.keys()
    assert {name for name in copied if copied[name] != originals[name]} <= rendered


def test_replay_file_holds_no_secret(cookies, _cookiecutter_config_file):
    """Cookiecutter's replay file does not contain the project's secret."""
    project = bake(cookies)
    (secret,) = re.findall("^SECRET_KEY=(.+)$", (project / ".env").read_text(), re.MULTILINE)
    replay = (_cookiecutter_config_file.dirpath() / "cookiecutter_replay").join(f"{TEMPLATE.name}.json")
    content = replay.read_text("utf-8")
    assert json.loads(content)["cookiecutter"]["project_slug"] == "talking-site"
    assert secret not in content
