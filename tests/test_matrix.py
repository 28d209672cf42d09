"""The runs of the emitted suites and of the live servers leave no pair of choices out."""

import itertools
import os

import pytest
from matrix import CHOICES, CONTEXT, CORE, PYTHONS, combinations, rotated

pytestmark = pytest.mark.quick

KEYS = (*CORE, "database", "django_version")


def test_core_has_every_combination_once():
    """The rotated runs are the product of the core choices, in its order."""
    assert [{key: answers[key] for key in CORE} for answers, _ in rotated()] == combinations(*CORE)


def test_any_two_choices_meet():
    """Each pair of choices, interpreters among them, occurs in at least one run."""
    choices = {**{key: CHOICES[key] for key in KEYS}, "python": PYTHONS}
    runs = [{**answers, "python": python} for answers, python in rotated()]
    wanted = {
        (one, other, values)
        for one, other in itertools.combinations(choices, 2)
        for values in itertools.product(choices[one], choices[other])
    }
    met = {(one, other, (run[one], run[other])) for run in runs for one, other in itertools.combinations(choices, 2)}
    assert wanted - met == set()


def test_each_server_and_style_meets_each_database_on_each_django():
    """PostgreSQL and both Djangos are not left to one server or one style."""
    for third in ("database", "django_version"):
        keys = ("server", "consumers", third)
        met = {tuple(answers[key] for key in keys) for answers, _ in rotated()}
        assert met == {tuple(answers.values()) for answers in combinations(*keys)}


def test_hooks_know_the_choices():
    """`_choices`, which the hooks read, repeats the questions exactly."""
    assert CONTEXT["_choices"] == CHOICES


def test_every_choice_is_labelled():
    """Each question has a label, and each choice a half-line that says when to take it."""
    questions = {key for key in CONTEXT if not key.startswith("_")}
    prompts = CONTEXT["__prompts__"]
    assert prompts.keys() == questions
    for key, choices in CHOICES.items():
        assert list(prompts[key]) == ["__prompt__", *choices]
        for choice in choices:
            assert prompts[key][choice].startswith(f"{choice}: ")


@pytest.mark.xdist_group("together")
def test_groups_stay_together(request):
    """The tests of one server run in one worker; where that is broken, it would be started again and again."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@together")
