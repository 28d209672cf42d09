"""Imports of Python files, those with Jinja's tags included."""

import ast
import re
from pathlib import Path


def readable(text: str) -> str:
    """Return Python that 3.11 can parse: without Jinja's tags, and without the type parameters of 3.12."""
    text = re.sub(r"\{\{[^{}]*(cookiecutter|app)\b[^{}]*\}\}", "_", re.sub(r"^\s*\{%.*$", "", text, flags=re.M))
    text = re.sub(r"^type (\w+)(?:\[[^\]]*\])?(?= = )", r"\1", text, flags=re.M)
    return re.sub(r"^(\s*(?:class|def|async def) \w+)\[[^\]]*\]", r"\1", text, flags=re.M)


def imported_names(path: Path, package: str = "") -> set[str]:
    """Return the dotted names of what a file imports, imports for type checkers and within functions included."""
    names = set()
    for node in ast.walk(ast.parse(readable(path.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parts, *([node.module] if node.module else [])])
            names.update([module, *(f"{module}.{alias.name}" for alias in node.names)])
    return names
