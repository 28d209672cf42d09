"""CI's jobs beyond `make test` run here as well and match their description."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from support.emitted import bake, clean_environ, run
from support.matrix import CHOICES, CONTEXT, PYTHONS, TEMPLATE, ci_jobs

from demo import find_python

EMITTED = "{{cookiecutter.project_slug}}"
WORKFLOWS = sorted((TEMPLATE / ".github" / "workflows").glob("*.yml"))


def requirements_in_tables() -> list[str]:
    """Return the requirements in cookiecutter.json."""
    rows = [row for key in ("server", "django_version") for row in CONTEXT["_choices"][key].values()]
    values = [value for row in rows for value in row.values()]
    return [text for value in values for text in (value if isinstance(value, list) else [value])]


def test_github_gets_the_names_of_the_jobs():
    """The names of the jobs are JSON in one line. A name selects the runs of its job, and `pairs` the nightly runs."""
    printed = run([sys.executable, "-m", "tools.matrix", "--github"], TEMPLATE, clean_environ())
    jobs = ci_jobs()
    assert (json.loads(printed), printed.count("\n")) == (list(jobs), 1)
    collect = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--collect-only",
        "-m",
        "combinations",
        "tests/test_combinations.py",
    ]
    found = re.findall(r"\[(.*?):", run([*collect, "-k", "uvicorn-3.14-5.2 or pairs"], TEMPLATE, clean_environ()))
    selected = [job for job in jobs if job == "uvicorn-3.14-5.2" or job.startswith("pairs")]
    assert found == [job for job in selected for _ in jobs[job]]


def test_every_pair_can_be_baked(cookies):
    """The hooks accept every pair of answers."""
    for name, runs in ci_jobs().items():
        for answers, _ in runs if name.startswith("pairs-") else []:
            bake(cookies, **answers)


@pytest.mark.quick
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_commands_of_the_workflows_exist(path):
    """Workflows name make targets and files that exist."""
    targets = re.search(r"^\.PHONY: (.*)", (TEMPLATE / "Makefile").read_text(encoding="utf-8"))[1].split()
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    commands = "\n".join(step.get("run", "") for job in jobs for step in job["steps"])
    assert set(re.findall(r"\bmake (\w+)(?![\w/])", commands)) <= set(targets)
    assert [name for name in re.findall(r"\btests/\S+\.py", commands) if not (TEMPLATE / name).exists()] == []


def test_newest_releases_are_allowed(cookies, tmp_path):
    """Without upper bounds a project requires the same packages, with the same lower bounds."""
    template = tmp_path / "template"
    for name in ("hooks", EMITTED, "tests", "tools"):
        shutil.copytree(TEMPLATE / name, template / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TEMPLATE / "cookiecutter.json", template)
    run([sys.executable, "-m", "tools.newest"], template, clean_environ())
    answers = {"server": "hypercorn", "channel_layer": "redis", "database": "postgresql"}
    for django in CHOICES["django_version"]:
        bounded, free = (
            {
                requirement.name: requirement
                for requirement in map(Requirement, dependencies(result.project_path / "pyproject.toml"))
            }
            for result in (
                cookies.bake(template=str(source), extra_context={**answers, "django_version": django})
                for source in (TEMPLATE, template)
            )
        )
        kept = {"django", "django-stubs"} if django != CHOICES["django_version"][0] else set()
        assert bounded.keys() == free.keys() > kept
        for name, requirement in free.items():
            lower = [one for one in bounded[name].specifier if one.operator == ">="]
            assert list(requirement.specifier) == (list(bounded[name].specifier) if name in kept else lower)
            assert (requirement.extras, requirement.marker) == (bounded[name].extras, bounded[name].marker)


def dependencies(path: Path) -> list[str]:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    groups = [*content.get("dependency-groups", {}).values(), content["project"]["dependencies"]]
    return [requirement for group in groups for requirement in group if isinstance(requirement, str)]


@pytest.mark.timeout(300)
def test_smoke_test_passes():
    """Two users chat on the default project, set up by its own commands, until its server drains."""
    environ = clean_environ(UV_PYTHON=find_python("3.13"))
    output = run([sys.executable, "-m", "tools.smoke"], TEMPLATE, environ)
    assert "Two people talked at " in output
    assert output.endswith("The server ended\n")


@pytest.mark.parametrize(("name", "runs_anywhere"), [("tools/smoke.py", True), ("tests/support/servers.py", False)])
def test_smoke_test_uses_what_every_system_has(name, runs_anywhere, environment):
    """The smoke test uses no attribute that a module lacks on Windows. Other files show that mypy would report it."""
    python = environment(PYTHONS[1], "6.1") / "bin" / "python"
    command = [str(python), "-m", "mypy", "--platform", "win32", "--check-untyped-defs", "--ignore-missing-imports"]
    environ = clean_environ(MYPYPATH="tests")
    done = subprocess.run(
        [*command, "--cache-dir", os.devnull, name], cwd=TEMPLATE, env=environ, capture_output=True, text=True
    )
    assert re.search(r"^(Found|Success)", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert ("Module has no attribute" not in done.stdout) == runs_anywhere, done.stdout


def found_by_renovate(name: str) -> set[tuple[str, str]]:
    """Return the names and versions that the patterns of renovate.json find in a file."""
    found = set()
    for manager in json.loads((TEMPLATE / "renovate.json").read_text(encoding="utf-8"))["customManagers"]:
        assert all(pattern[0] == pattern[-1] == "/" for pattern in manager["managerFilePatterns"])
        if any(re.search(pattern[1:-1], name) for pattern in manager["managerFilePatterns"]):
            text = (TEMPLATE / name).read_text(encoding="utf-8")
            for pattern in manager["matchStrings"]:
                matches = re.finditer(pattern.replace("(?<", "(?P<"), text)
                found |= {(match["depName"], match["currentValue"]) for match in matches}
    return found


def named(requirements: list[str]) -> set[tuple[str, str]]:
    """Return the names and versions of requirements."""
    return {tuple(re.match(r"([\w.-]+)(?:\[.*\])?([^;]*)", requirement).groups()) for requirement in requirements}


def test_renovate_finds_every_requirement(cookies):
    """Renovate finds each requirement of the template, of its tables and of any project, and each image."""
    assert found_by_renovate("pyproject.toml") == named(dependencies(TEMPLATE / "pyproject.toml"))
    assert found_by_renovate("cookiecutter.json") == named(requirements_in_tables())
    sources = found_by_renovate("cookiecutter.json") | found_by_renovate(f"{EMITTED}/pyproject.toml")
    answers = {"deploy": "kubernetes", "channel_layer": "redis", "database": "postgresql", "examples": "all"}
    emitted = set()
    for server in CHOICES["server"]:
        for django in CHOICES["django_version"]:
            project = bake(cookies, server=server, django_version=django, **answers)
            emitted |= named(dependencies(project / "pyproject.toml"))
    assert sources == emitted

    others = set()
    for path in (TEMPLATE / EMITTED).rglob("*"):
        if path.is_file() and path.name != "pyproject.toml" and path.suffix != ".mo":
            name = path.relative_to(TEMPLATE).as_posix()
            text = path.read_text(encoding="utf-8")
            wanted = named(re.findall(r'"([\w.-]+(?:\[[\w,]+\])?>=\d[^"]*)"', text))
            wanted |= set(re.findall(r"(?:image|name): ([a-z-]+):(\d\S*)", text))
            assert found_by_renovate(name) == wanted, name
            others |= {package for package, _ in wanted}
    names = {name for name, _ in emitted}
    assert others - names == {
        *("uv", "cruft", "kubernetes-validate", "nginx", "postgres", "eclipse-mosquitto", "python", "docker"),
        # Of recipes.
        *("anthropic", "celery", "django-allauth", "django-debug-toolbar", "djangochannelsrestframework"),
        *("django-htmx", "djangorestframework", "djangorestframework-simplejwt", "playwright", "sentry-sdk"),
        "strawberry-graphql",
    }


@pytest.mark.quick
def test_renovate_can_read_its_file():
    """renovate.json matches the published schema."""
    command = ["check-jsonschema", "--builtin-schema", "vendor.renovate", "renovate.json"]
    assert "ok -- validation done" in run(command, TEMPLATE, clean_environ())


@pytest.mark.quick
def test_actions_are_pinned():
    """Each action is pinned by its commit, with the version in the format that Renovate and Dependabot read."""
    for folder in (TEMPLATE, TEMPLATE / EMITTED):
        for path in (folder / ".github" / "workflows").iterdir():
            for action in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8")):
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), path
