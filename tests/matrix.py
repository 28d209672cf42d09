"""The combinations that are tested: all are derived from the choices in cookiecutter.json."""

import itertools
import json
import tomllib
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent.parent
CONTEXT = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES = {key: value for key, value in CONTEXT.items() if isinstance(value, list) and not key.startswith("_")}
CORE = ("server", "channel_layer", "consumers", "auth")
PYTHONS = ("3.12", "3.13")

Answers = dict[str, str]


def combinations(*keys: str) -> list[Answers]:
    """Every combination of the choices of these questions, the last one changing fastest."""
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(CHOICES[key] for key in keys))]


def label(answers: Answers) -> str:
    """The name of a combination in the output of pytest."""
    return "-".join(answers.values())


def rotated() -> list[tuple[Answers, str]]:
    """The core combinations, each once, with databases, Djangos and Pythons taking turns.

    The turns are such that any two choices, and any server, style and database, meet at least once; test_matrix.py
    proves it.
    """
    runs = []
    for number, core in enumerate(combinations(*CORE)):
        turn = number + number // 6  # a shift for every new pair of server and layer, or the turns would follow them
        database = CHOICES["database"][turn % 2]
        django = CHOICES["django_version"][turn // 2 % 2]
        python = PYTHONS[turn // 4 % 2]
        runs.append(({**core, "database": database, "django_version": django}, python))
    return runs


def covering(*keys: str) -> list[Answers]:
    """A few combinations in which every choice of these questions occurs."""
    longest = max(len(CHOICES[key]) for key in keys)
    return [{key: CHOICES[key][turn % len(CHOICES[key])] for key in keys} for turn in range(longest)]


def is_quick(answers: Answers) -> bool:
    """Whether a combination is one of the few that `make check` runs."""
    return {key: answers[key] for key in CORE} in covering(*CORE)


def requirements(project: Path) -> set[str]:
    """What an emitted project needs, at run time and for its tests, as its pyproject.toml says."""
    content = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    return {*content["project"]["dependencies"], *content["dependency-groups"]["dev"]}


if __name__ == "__main__":
    for answers, python in rotated():
        print(f"{label(answers)}  on Python {python}")
