"""Removal of upper bounds from the requirements of emitted projects: `python -m tools.newest`.

The nightly run does that to its own copy, so that it tests new releases of the dependencies before they are allowed.
An older Django keeps its bound.
"""

import re

from support.matrix import CHOICES, TEMPLATE

FILES = ("cookiecutter.json", "{{cookiecutter.project_slug}}/pyproject.toml")
BOUND = re.compile(r"""("[\w.-]+(?:\[[\w,]+\])?>=[\w.]+),<[\w.]+""")


def without_bounds(text: str) -> str:
    """Remove the bounds of a file's requirements, except on lines that begin with an older Django."""
    older = tuple(f'"{version}":' for version in CHOICES["django_version"][1:])
    lines = text.splitlines(keepends=True)
    return "".join(line if line.lstrip().startswith(older) else BOUND.sub(r"\1", line) for line in lines)


if __name__ == "__main__":
    for name in FILES:
        path = TEMPLATE / name
        path.write_text(without_bounds(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
