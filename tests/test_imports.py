"""Imports of the repository's Python: no file imports a test file, and no imports form a circle."""

import graphlib
from pathlib import Path

import pytest
from support.imports import imported_names
from support.matrix import APPS, TEMPLATE

pytestmark = pytest.mark.quick

EMITTED = TEMPLATE / "{{cookiecutter.project_slug}}"
# The folders that modules are imported from, and those of their packages in which no imports form a circle.
PLACES = [
    (TEMPLATE, "bench"),
    (TEMPLATE, "tools"),
    (TEMPLATE / "tests", "support"),
    *((EMITTED, package) for package in ("accounts", "config", "realtime", *APPS)),
]


def modules(root: Path, package: str) -> dict[str, set[str]]:
    """Return the modules of a package with those that each imports; variants of a file are one module."""
    found: dict[str, set[str]] = {}
    for path in sorted((root / package).rglob("*.py")):
        *folders, name = path.relative_to(root).parts
        own = ".".join([*folders, *([stem] if (stem := name.partition(".")[0]) != "__init__" else [])])
        found.setdefault(own, set()).update(imported_names(path, ".".join(folders)))
    # `from package import module` needs the module, not the rest of the package.
    for own, names in found.items():
        named = {name for name in names if name in found}
        found[own] = {name for name in named if not any(other.startswith(f"{name}.") for other in named)} - {own}
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle, each of which imports the next; none if there is no circle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


@pytest.mark.parametrize("folder", ["tests", "tools", "bench"])
def test_no_file_imports_a_test_file(folder):
    """Helpers that two test files share lie in tests/support/."""
    found = {
        f"{path.relative_to(TEMPLATE)}: {name}"
        for path in (TEMPLATE / folder).rglob("*.py")
        for name in imported_names(path)
        if name.startswith("test_") and (TEMPLATE / "tests" / f"{name.partition('.')[0]}.py").exists()
    }
    assert found == set()


@pytest.mark.parametrize(("root", "package"), PLACES, ids=[package for _, package in PLACES])
def test_no_imports_form_a_circle(root, package):
    """Each module can be read after the modules that it imports, those for type checkers included."""
    graph = modules(root, package)
    assert graph
    assert circle(graph) == []


def test_circle_is_found(tmp_path):
    """Imports for type checkers, in functions and relative ones count, and not the package of an imported module."""
    files = {
        "__init__.py": "from a.one import x\n",
        "one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.two import y\n",
        "two.sync.py": "def f():\n    from .three import z\n",
        "three.py": "import a.one\n",
        "four.py": "from a import one\n",
    }
    (tmp_path / "a").mkdir()
    for name, text in files.items():
        (tmp_path / "a" / name).write_text(text)
    graph = modules(tmp_path, "a")
    assert graph["a.four"] == {"a.one"}
    assert sorted(circle(graph)[1:]) == ["a.one", "a.three", "a.two"]
    (tmp_path / "a" / "three.py").write_text("import os\n")
    assert circle(modules(tmp_path, "a")) == []
