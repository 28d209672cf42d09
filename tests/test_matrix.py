"""The runs of the emitted suites and of the live servers include every pair of choices."""

import itertools
import os

import pytest
from support.matrix import (
    CHOICES,
    CONTEXT,
    CORE,
    ENGINE,
    PYTHONS,
    PYTHONS_OF_CI,
    ci_jobs,
    combinations,
    engine_expression,
    engine_runs,
    is_engine_measured,
    is_measured,
    is_possible,
    is_whole,
    pairs,
    rotated,
)

pytestmark = pytest.mark.quick

KEYS = (*CORE, "database", "django_version")


def missing_pairs(choices, runs):
    """Return the pairs of choices that meet in no run."""
    return [
        {one: this, other: that}
        for one, other in itertools.combinations(choices, 2)
        for this, that in itertools.product(choices[one], choices[other])
        if not any((run[one], run[other]) == (this, that) for run in runs)
    ]


def test_core_has_every_combination_once():
    """The rotated runs are the product of the core choices, in order."""
    assert [{key: answers[key] for key in CORE} for answers, _ in rotated()] == combinations(*CORE)


def test_any_two_choices_meet():
    """Each pair of choices, Pythons included, occurs in at least one run."""
    choices = {**{key: CHOICES[key] for key in KEYS}, "python": PYTHONS}
    runs = [{**answers, "python": python} for answers, python in rotated()]
    assert missing_pairs(choices, runs) == []


def test_engine_suite_meets_any_two_choices():
    """The engine's suite has each combination of its axes once, and any two choices meet in at least one run."""
    assert [{key: answers[key] for key in ENGINE} for answers, _ in engine_runs()] == combinations(*ENGINE)
    choices = {**{key: CHOICES[key] for key in (*ENGINE, "database", "django_version")}, "python": PYTHONS}
    runs = [{**answers, "python": python} for answers, python in engine_runs()]
    assert missing_pairs(choices, runs) == []


def test_whole_engine_suites_meet_what_tests_depend_on():
    """All tests of the engine run in each style on each database, and on each Python with each Django."""
    whole = [
        {**answers, "python": python} for answers, python in engine_runs() if not engine_expression(answers, python)
    ]
    assert len(whole) == 4
    choices = {**CHOICES, "python": PYTHONS}
    for questions in (("consumers", "database"), ("django_version", "python"), ("server",), ("channel_layer",)):
        met = {tuple(run[question] for question in questions) for run in whole}
        assert met == set(itertools.product(*(choices[question] for question in questions)))


def test_whole_suites_meet_what_tests_depend_on():
    """All tests of a project run with any two choices, and with each database in each style and way to sign in."""
    whole = [{**answers, "python": python} for answers, python in rotated() if is_whole(answers, python)]
    choices = {**{key: CHOICES[key] for key in KEYS}, "python": PYTHONS}
    assert missing_pairs(choices, whole) == []
    files = ("consumers", "auth", "database")
    met = {tuple(run[key] for key in files) for run in whole}
    assert met == {tuple(answers.values()) for answers in combinations(*files)}


def test_coverage_is_measured_where_it_differs():
    """Coverage is measured with all tests for each style and sign-in, on each server and layer, in few runs."""
    measured = [run for run in rotated() if is_measured(*run)]
    assert len(measured) <= len(combinations(*CORE)) / 4
    assert all(is_whole(*run) for run in measured)
    for questions in (("consumers", "auth"), ("server",), ("channel_layer",)):
        met = {tuple(answers[question] for question in questions) for answers, _ in measured}
        assert met == {tuple(answers.values()) for answers in combinations(*questions)}


def test_coverage_of_the_engine_is_measured_on_each_server_and_layer():
    """Coverage of the engine is measured on each server and layer, and once with all tests."""
    measured = [run for run in engine_runs() if is_engine_measured(*run)]
    assert [answers["server"] for answers, _ in measured] == CHOICES["server"]
    assert {answers["channel_layer"] for answers, _ in measured} == set(CHOICES["channel_layer"])
    assert sorted(engine_expression(*run) for run in measured) == ["", *["server or start"] * (len(measured) - 1)]


def test_each_server_and_style_meets_each_database_on_each_django():
    """Each server and style meets each database and each Django."""
    for third in ("database", "django_version"):
        keys = ("server", "consumers", third)
        met = {tuple(answers[key] for key in keys) for answers, _ in rotated()}
        assert met == {tuple(answers.values()) for answers in combinations(*keys)}


def test_ci_has_every_core_combination_on_each_python_and_django():
    """CI runs each core combination once on each Python and Django, in fewer jobs than GitHub's limit."""
    jobs = {name: runs for name, runs in ci_jobs().items() if not name.startswith("pairs-")}
    asked = (*CORE, "django_version")
    met = [(python, *(answers[key] for key in asked)) for runs in jobs.values() for answers, python in runs]
    product = [(python, *answers.values()) for python in PYTHONS_OF_CI for answers in combinations(*asked)]
    assert sorted(met) == sorted(product)
    assert len(ci_jobs()) <= 256
    for name, runs in jobs.items():
        assert {f"{answers['server']}-{python}-{answers['django_version']}" for answers, python in runs} == {name}
    assert {answers["database"] for runs in jobs.values() for answers, _ in runs} == set(CHOICES["database"])


def test_ci_has_every_pair():
    """CI runs any two choices of all questions, and each choice with every Python, except refused ones."""
    choices = {**CHOICES, "python": PYTHONS_OF_CI}
    jobs = {name: runs for name, runs in ci_jobs().items() if name.startswith("pairs-")}
    assert {f"pairs-{python}" for runs in jobs.values() for _, python in runs} == jobs.keys()
    runs = [{**answers, "python": python} for runs in jobs.values() for answers, python in runs]
    met = {two for run in runs for two in itertools.combinations(run.items(), 2)}
    missing = [
        {one: this, other: that}
        for one, other in itertools.combinations(choices, 2)
        for this, that in itertools.product(choices[one], choices[other])
        if ((one, this), (other, that)) not in met
    ]
    assert missing == [
        {"channel_layer": "in-memory", "deploy": "kubernetes"},
        {"database": "sqlite", "deploy": "kubernetes"},
    ]
    assert [two for two in missing if is_possible(two)] == []


def test_pairs_are_few():
    """There are not many more pairs than the product of the two longest questions."""
    assert pairs({"a": ["1", "2"], "b": ["x", "y", "z"]}) == [{"a": a, "b": b} for a in "12" for b in "xyz"]
    longest = sorted(map(len, [*CHOICES.values(), PYTHONS_OF_CI]))[-2:]
    assert (
        sum(len(runs) for name, runs in ci_jobs().items() if name.startswith("pairs-")) <= 2 * longest[0] * longest[1]
    )


def test_hooks_know_the_choices():
    """`_choices` has one row of facts per choice, in the order of the questions."""
    assert {key: list(rows) for key, rows in CONTEXT["_choices"].items()} == CHOICES


def test_every_choice_is_labelled():
    """Each question has a label, and each choice a half-line that explains when to choose it."""
    questions = {key for key in CONTEXT if not key.startswith("_")}
    prompts = CONTEXT["__prompts__"]
    assert prompts.keys() == questions
    for key, choices in CHOICES.items():
        assert list(prompts[key]) == ["__prompt__", *choices]
        for choice in choices:
            assert prompts[key][choice].startswith(f"{choice}: ")


@pytest.mark.xdist_group("together")
def test_groups_stay_together(request):
    """The tests of one server run in one worker. Otherwise the server would be started repeatedly."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@together")
