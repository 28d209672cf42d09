"""Combinations that are tested, all derived from the choices in cookiecutter.json."""

import functools
import itertools
import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

TEMPLATE = Path(__file__).resolve().parent.parent.parent
CONTEXT = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES = {key: value for key, value in CONTEXT.items() if isinstance(value, list) and not key.startswith("_")}
CORE = ("server", "channel_layer", "consumers", "auth")
ENGINE = ("server", "channel_layer", "consumers")  # axes of the engine's own suite
APPS = CONTEXT["_choices"]["examples"]["all"]["apps"]  # deleted one by one by the recipes
SIGNED_IN = [auth for auth in CHOICES["auth"] if auth != "none"]
PYTHONS = ("3.12", "3.13")
PYTHONS_OF_CI = (*PYTHONS, "3.14")
# Answers that need another answer.
PRESUPPOSED = {("deploy", "kubernetes"): {"channel_layer": "redis", "database": "postgresql"}}

Answers = dict[str, str]
Runs = list[tuple[Answers, str]]
Row = TypeVar("Row")


def combinations(*keys: str) -> list[Answers]:
    """Return every combination of the choices of these questions. The last question changes fastest."""
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(CHOICES[key] for key in keys))]


def apps_of(answers: Answers) -> list[str]:
    """Return the sample apps of a project. Some need accounts."""
    examples = answers.get("examples", CHOICES["examples"][0])
    lacks = CONTEXT["_choices"]["auth"][answers.get("auth", CHOICES["auth"][0])]["lacks"]
    return [app for app in CONTEXT["_choices"]["examples"][examples]["apps"] if app not in lacks]


def label(answers: Answers) -> str:
    """Return the name of a combination in the output of pytest."""
    return "-".join(answers.values())


def spread(runs: Iterable[Answers], *questions: str, **choices: Sequence[str]) -> list[Answers]:
    """Answer more questions of each run, so that as many choices as possible meet.

    Each run gets the choices that meet most of its other answers for the first time, and of equal ones the least used.
    Repeats the runs if they are too few for every choice. `choices` narrows a question, or adds one of its own.
    """
    offered = {**{question: CHOICES[question] for question in questions}, **choices}
    runs = list(runs)
    runs += itertools.islice(itertools.cycle(runs), max(0, *(len(offer) - len(runs) for offer in offered.values())))
    met: Counter[frozenset[tuple[str, str]]] = Counter()
    found = []
    for run in runs:
        answers = dict(run)
        for question in (question for question in offered if question not in answers):

            def novelty(choice: str, question: str = question, answers: Answers = answers) -> tuple[int, int, int]:
                item = (question, choice)
                twos = [frozenset({item, one}) for one in answers.items()]
                threes = [frozenset({item, *two}) for two in itertools.combinations(answers.items(), 2)]
                return (
                    sum(two not in met for two in twos),
                    sum(three not in met for three in threes),
                    -met[frozenset({item})],
                )

            answers[question] = max(offered[question], key=novelty)
        for size in (1, 2, 3):
            met.update(map(frozenset, itertools.combinations(answers.items(), size)))
        found.append(answers)
    return found


def complete(question: str, table: Mapping[str, Row]) -> Mapping[str, Row]:
    """Return a table with a row per choice. Raise LookupError if cookiecutter.json offers a choice without a row."""
    missing = [choice for choice in CHOICES[question] if choice not in table]
    if missing:
        raise LookupError(f"{question}={missing[0]} has no row in this table: add it to {', '.join(table)}")
    return table


def rotated() -> Runs:
    """Return the core combinations, each once, with databases, Djangos and Pythons taking turns.

    Any two choices, and any server, style and database, meet at least once, which test_matrix.py proves.
    """
    runs = spread(combinations(*CORE), "database", "django_version", python=PYTHONS)
    return [(answers, answers.pop("python")) for answers in runs]


def all_examples() -> Runs:
    """Return combinations with all sample apps: each style and sign-in, while the other questions take turns."""
    runs = spread(combinations("consumers", "auth"), *CORE, "database", "django_version", python=PYTHONS)
    return [({**answers, "examples": "all"}, python) for answers in runs if (python := answers.pop("python"))]


def engine_runs() -> Runs:
    """Return the combinations of the engine's axes, each once, with databases, Djangos and Pythons taking turns."""
    runs = spread(combinations(*ENGINE), "database", "django_version", auth=["session"], python=PYTHONS)
    return [(answers, answers.pop("python")) for answers in runs]


def engine_expression(answers: Answers, python: str) -> str:
    """Return the mark expression of pytest that selects the tests of a run of the engine's suite.

    All runs start servers. A few run everything: each style on each database, each Python on each Django.
    """
    if {**answers, "python": python} in whole_engine_runs():
        return ""
    return "server or start" if is_engine_measured(answers, python) else "server"


@functools.cache
def whole_engine_runs() -> list[Answers]:
    """Return the runs of the engine's suite that run everything, on each server and layer."""
    runs = [{**answers, "python": python} for answers, python in engine_runs()]
    return fewest(runs, ("consumers", "database"), ("django_version", "python"), ("server",), ("channel_layer",))


def is_engine_measured(answers: Answers, python: str) -> bool:
    """Return whether a run of the engine's suite is run with coverage, which takes three times as long.

    One that runs everything is, and a few that start the other servers and layers.
    """
    first, *others = whole_engine_runs()
    runs = [{**answers, "python": python} for answers, python in engine_runs()]
    measured = fewest([first, *(run for run in runs if run not in others)], ("server",), ("channel_layer",))
    return {**answers, "python": python} in measured


def fewest(runs: Iterable[Answers], *groups: Sequence[str]) -> list[Answers]:
    """Return a few of the runs, which answer each group of questions in all the ways that the runs do."""
    runs, found = list(runs), []

    def answered(run: Answers) -> set[frozenset[tuple[str, str]]]:
        return {frozenset((key, run[key]) for key in group) for group in groups}

    missing = set().union(*map(answered, runs))
    while missing:
        found.append(max(runs, key=lambda run: len(missing & answered(run))))
        missing -= answered(found[-1])
    return found


def covering(*keys: str) -> list[Answers]:
    """Return a few combinations that contain every choice of these questions."""
    longest = max(len(CHOICES[key]) for key in keys)
    return [{key: CHOICES[key][turn % len(CHOICES[key])] for key in keys} for turn in range(longest)]


def is_possible(answers: Answers) -> bool:
    """Return whether each answer has the answers that it needs. Some questions may be open."""
    needed = [items for (key, choice), items in PRESUPPOSED.items() if answers.get(key) == choice]
    return all(answers.get(key, choice) == choice for items in needed for key, choice in items.items())


def pairs(choices: dict[str, list[str]]) -> list[Answers]:
    """Return few combinations in which any two choices meet, if they can.

    Each starts with two that have not met yet. Question by question it adds the choice that meets most of the chosen
    ones for the first time.
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
    """Return the runs of each machine of CI: a server's combinations on a Python and a Django, or pairs on a Python.

    A machine per combination would spend most of its time on the set-up that twelve share.
    """
    jobs: dict[str, Runs] = {}
    for python, django, server in itertools.product(PYTHONS_OF_CI, CHOICES["django_version"], CHOICES["server"]):
        for answers in spread(combinations(*CORE[1:]), "database"):
            run = {"server": server, **answers, "django_version": django}
            jobs.setdefault(f"{server}-{python}-{django}", []).append((run, python))
    for answers in pairs({**CHOICES, "python": list(PYTHONS_OF_CI)}):
        python = answers.pop("python")
        jobs.setdefault(f"pairs-{python}", []).append((answers, python))
    return jobs


def is_quick(answers: Answers) -> bool:
    """Return whether a combination is one of the few that `make check` runs."""
    return {key: answers[key] for key in CORE} in covering(*CORE)


@functools.cache
def whole_suites() -> list[Answers]:
    """Return the runs of emitted suites that run all tests. The others run those that depend on server and layer.

    A layer changes no Python file of a project, and a server one default (test_options.py). So all tests run where any
    two choices meet, and where each style and sign-in meets each database.
    """
    questions = (*CORE, "database", "django_version", "python")
    runs = [{**answers, "python": python} for answers, python in rotated()]
    return fewest(runs, *itertools.combinations(questions, 2), ("consumers", "auth", "database"))


def is_whole(answers: Answers, python: str) -> bool:
    """Return whether all tests of a combination are run."""
    return {**answers, "python": python} in whole_suites()


def is_measured(answers: Answers, python: str) -> bool:
    """Return whether a suite is run with coverage, which doubles its time.

    Each style and sign-in is measured, and once each server and layer, which change few lines.
    """
    return {**answers, "python": python} in fewest(
        whole_suites(), ("consumers", "auth"), ("server",), ("channel_layer",)
    )


def requirements(project: Path) -> set[str]:
    """Return the requirements in an emitted project's pyproject.toml, at run time and for its tests."""
    content = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    return {*content["project"]["dependencies"], *content["dependency-groups"]["dev"]}
