"""The layout of the repository: what lies at its root, and what in tests/."""

import subprocess

import pytest
from support.matrix import TEMPLATE

pytestmark = pytest.mark.quick

ROOT = {
    ".ci",
    ".editorconfig",
    ".gitattributes",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "bench",
    "cookiecutter.json",
    "demo.py",
    "docs",
    "hooks",
    "pyproject.toml",
    "renovate.json",
    "tests",
    "tools",
    "{{cookiecutter.project_slug}}",
}


def tracked(folder: str) -> set[str]:
    """Return the names of the files and folders that git tracks or would add in a folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=TEMPLATE / folder, capture_output=True, check=True, encoding="utf-8").stdout
    return {name.partition("/")[0] for name in names.split("\0") if name}


def test_root_holds_the_listed_names():
    """The root of the repository holds the files and folders of the list and no others."""
    assert tracked(".") == ROOT


def test_tests_hold_test_files():
    """tests/ holds test files, conftest.py, helpers in support/ and the engine's suite in engine/."""
    others = {name for name in tracked("tests") if not (name.startswith("test_") and name.endswith(".py"))}
    assert others <= {"conftest.py", "engine", "support"}
