"""Imports of the repository's Python: test files stand alone."""

import ast
from pathlib import Path

import pytest
from support.matrix import TEMPLATE

pytestmark = pytest.mark.quick


def imported_modules(path: Path) -> set[str]:
    """Return the dotted names of what a file imports, imports for type checkers and within functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update([node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)])
    return names


@pytest.mark.parametrize("folder", ["tests", "tools", "bench"])
def test_no_file_imports_a_test_file(folder):
    """Helpers that two test files share lie in tests/support/."""
    found = {
        f"{path.relative_to(TEMPLATE)}: {name}"
        for path in (TEMPLATE / folder).rglob("*.py")
        for name in imported_modules(path)
        if name.startswith("test_") and (TEMPLATE / "tests" / f"{name.partition('.')[0]}.py").exists()
    }
    assert found == set()
