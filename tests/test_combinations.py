"""Every core combination on every Python and Django, and any two answers together: `make combinations`.

CI spreads them over many machines. `make test` runs only those of `test_suites.py`.
"""

import pytest
from support.emitted import bake, environ_for, run
from support.matrix import ci_jobs, label


@pytest.mark.combinations
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("answers", "python"),
    [
        pytest.param(answers, python, id=f"{name}:{label(answers)}")
        for name, runs in ci_jobs().items()
        for answers, python in runs
    ],
)
def test_combination_passes_its_own_checks(answers, python, cookies, environment, services):
    """`make lint` and `make test` of each combination succeed."""
    project = bake(cookies, **answers)
    environ = environ_for(environment(python, answers["django_version"]), **services(answers))
    run(["make", "lint"], project, environ, timeout=300)
    assert " passed" in run(["make", "test"], project, environ, timeout=500)
