"""The engine: the same files in every project, and clean by the linters that a project runs on its own part only."""

import hashlib
import re

import pytest
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, TEMPLATE, rotated

ENGINE = TEMPLATE / "{{cookiecutter.project_slug}}" / "realtime"
SUFFIXES = {".js", ".md", ".mo", ".po", ".py", ".typed"}
# Django's templates of new apps, which no tool takes for the files that they become.
TEMPLATE_SUFFIXES = {".py-tpl", ".js-tpl", ".css-tpl", ".html-tpl"}
# A project's own mypy leaves the engine out. These libraries have no types, or wrong ones.
MYPY = """
[mypy]
strict = true
plugins = mypy_django_plugin.main
untyped_calls_exclude = asgiref

[mypy-autobahn.*,channels_redis.*,daphne.*,servestatic.*,uvloop,zope.*]
ignore_missing_imports = true

[mypy-twisted.*]
ignore_missing_imports = true
follow_imports = skip

[mypy.plugins.django-stubs]
django_settings_module = linted
"""
# With every app of the engine.
SETTINGS = """
from config.settings import *
APPS = {"realtime.auth", "realtime.feeds", "realtime.figures", "realtime.work"}
INSTALLED_APPS += APPS.difference(INSTALLED_APPS)
"""


def hashes(folder):
    """Return a hash of each file in a folder, by its path."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.quick
def test_engine_is_the_same_in_every_project(cookies):
    """All core combinations, with both databases and Djangos, have the files of the template, byte for byte."""
    expected = hashes(ENGINE)
    runs = [answers for answers, _ in rotated()]
    for key in ("database", "django_version"):
        assert {answers[key] for answers in runs} == set(CHOICES[key])
    for answers in runs:
        assert hashes(bake(cookies, **answers) / "realtime") == expected, answers


@pytest.mark.quick
def test_engine_has_no_template_language_and_no_variants():
    """No file of the engine depends on an answer, by its name or by its text.

    Templates of new apps are Django's, and depend on settings and options.
    """
    paths = [path for path in ENGINE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    choices = {choice for question in CHOICES.values() for choice in question}
    templates = [path for path in paths if path.is_relative_to(ENGINE / "startconsumer")]
    assert {path.suffix for path in templates} == TEMPLATE_SUFFIXES
    assert {path.suffix for path in paths if path not in templates} == SUFFIXES
    for path in paths:
        assert not choices.intersection(path.name.split(".")[1:-1]), path
        if path.suffix == ".mo":  # compiled from the `.po` file beside it
            continue
        language = "cookiecutter" if path in templates else r"\{%|%\}|\{\{ |cookiecutter"
        assert not re.search(language, path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("python", "django"),
    [(PYTHONS[turn % len(PYTHONS)], django) for turn, django in enumerate(CHOICES["django_version"], 1)],
)
def test_engine_is_clean(python, django, cookies, environment, tmp_path):
    """ruff and strict mypy find nothing where every server and the packages of Redis and PostgreSQL are installed."""
    project = bake(cookies, django_version=django)
    environ = environ_for(environment(python, django))
    ruff = ["--no-cache", "--config", "extend-exclude=[]", "realtime"]
    run(["uv", "run", "ruff", "check", *ruff], project, environ)
    run(["uv", "run", "ruff", "format", "--check", *ruff], project, environ)
    configuration = tmp_path / "mypy.ini"
    configuration.write_text(MYPY)
    (project / "linted.py").write_text(SETTINGS)
    command = ["uv", "run", "mypy", "--config-file", str(configuration), "--cache-dir", str(tmp_path / "cache")]
    run([*command, "realtime"], project, environ)
