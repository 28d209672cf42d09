"""The combinations that are tested: all are derived from the choices in cookiecutter.json."""

import functools
import itertools
import json
import tomllib
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent.parent.parent
CONTEXT = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES = {key: value for key, value in CONTEXT.items() if isinstance(value, list) and not key.startswith("_")}
CORE = ("server", "channel_layer", "consumers", "auth")
ENGINE = ("server", "channel_layer", "consumers")  # what the engine's own suite is run over
TURNS = {key: CHOICES[key] for key in ("database", "django_version")}
PYTHONS = ("3.12", "3.13")
PYTHONS_OF_CI = (*PYTHONS, "3.14")
# Answers that another one needs.
PRESUPPOSED = {("deploy", "kubernetes"): {"channel_layer": "redis", "database": "postgresql"}}

Answers = dict[str, str]
Runs = list[tuple[Answers, str]]


def combinations(*keys: str) -> list[Answers]:
    """Every combination of the choices of these questions, the last one changing fastest."""
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(CHOICES[key] for key in keys))]


def label(answers: Answers) -> str:
    """The name of a combination in the output of pytest."""
    return "-".join(answers.values())


def rotated() -> Runs:
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


def engine_runs() -> Runs:
    """The engine's own combinations, each once, with databases, Djangos and Pythons taking turns.

    Each turn has the most pairs of choices that did not meet yet. test_matrix.py proves that all of them meet.
    """
    turns = [
        dict(zip(("python", *TURNS), values, strict=True)) for values in itertools.product(PYTHONS, *TURNS.values())
    ]
    met: set[frozenset[tuple[str, str]]] = set()
    runs = []
    for axes in combinations(*ENGINE):
        answers = max(({**axes, **turn} for turn in turns), key=lambda answers: len(pairs_of(answers) - met))
        met |= pairs_of(answers)
        python = answers.pop("python")
        runs.append((answers, python))
    return runs


def pairs_of(answers: Answers) -> set[frozenset[tuple[str, str]]]:
    """Any two answers of a combination."""
    return {frozenset(two) for two in itertools.combinations(answers.items(), 2)}


def covering(*keys: str) -> list[Answers]:
    """A few combinations in which every choice of these questions occurs."""
    longest = max(len(CHOICES[key]) for key in keys)
    return [{key: CHOICES[key][turn % len(CHOICES[key])] for key in keys} for turn in range(longest)]


def is_possible(answers: Answers) -> bool:
    """Whether no answer lacks what it needs, however many questions are answered."""
    needed = [items for (key, choice), items in PRESUPPOSED.items() if answers.get(key) == choice]
    return all(answers.get(key, choice) == choice for items in needed for key, choice in items.items())


def pairs(choices: dict[str, list[str]]) -> list[Answers]:
    """Few combinations in which any two choices meet, where they can.

    Each begins with two that did not meet yet, and goes on, question by question, with the choice that meets most of
    the chosen ones for the first time.
    """
    items = [(key, choice) for key in choices for choice in choices[key]]
    met = (frozenset(two) for two in itertools.combinations(items, 2) if two[0][0] != two[1][0])
    missing = dict.fromkeys(two for two in met if is_possible(dict(two)))

    def gain(answers: Answers, item: tuple[str, str]) -> int:
        return sum(frozenset({item, other}) in missing for other in answers.items())

    found = []
    while missing:
        answers = dict(next(iter(missing)))
        for key in [key for key in choices if key not in answers]:
            possible = [(key, choice) for choice in choices[key] if is_possible({**answers, key: choice})]
            answers.update([max(possible, key=functools.partial(gain, answers))])
        for two in itertools.combinations(answers.items(), 2):
            missing.pop(frozenset(two), None)
        found.append({key: answers[key] for key in choices})
    return found


def ci_jobs() -> dict[str, Runs]:
    """What each of CI's machines runs: a server's core combinations on a Python and a Django, or pairs on a Python.

    One machine for each combination would spend most of its time on the set-up that twelve share.
    """
    jobs: dict[str, Runs] = {}
    for python, django, server in itertools.product(PYTHONS_OF_CI, CHOICES["django_version"], CHOICES["server"]):
        for turn, core in enumerate(combinations(*CORE[1:])):
            answers = {"server": server, **core, "database": CHOICES["database"][turn % 2], "django_version": django}
            jobs.setdefault(f"{server}-{python}-{django}", []).append((answers, python))
    for answers in pairs({**CHOICES, "python": list(PYTHONS_OF_CI)}):
        python = answers.pop("python")
        jobs.setdefault(f"pairs-{python}", []).append((answers, python))
    return jobs


def is_quick(answers: Answers) -> bool:
    """Whether a combination is one of the few that `make check` runs."""
    return {key: answers[key] for key in CORE} in covering(*CORE)


def is_measured(answers: Answers) -> bool:
    """Whether the suite of a combination is run with coverage, which takes as long again; any two choices meet."""
    return sum(CHOICES[key].index(answers[key]) for key in CORE) % 3 == 0


def requirements(project: Path) -> set[str]:
    """What an emitted project needs, at run time and for its tests, as its pyproject.toml says."""
    content = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    return {*content["project"]["dependencies"], *content["dependency-groups"]["dev"]}
