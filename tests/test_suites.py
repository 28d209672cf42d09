"""Every core combination passes the tests that it brings along."""

import pytest
from support.emitted import PLUGINS, bake, environ_for, run
from support.matrix import is_measured, is_quick, label, rotated


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("answers", "python"),
    [
        pytest.param(
            answers, python, id=f"{label(answers)}-{python}", marks=[pytest.mark.quick] if is_quick(answers) else []
        )
        for answers, python in rotated()
    ],
)
def test_emitted_suite_passes(answers, python, cookies, environment, services):
    """The project's tests succeed and leave none out, for one in three as `make test` with 95 % coverage."""
    project = bake(cookies, **answers)
    environ = environ_for(environment(python, answers["django_version"]), **services(answers))
    command = ["make", "test"]
    if not is_measured(answers):
        command = ["uv", "run", "pytest", "--no-cov", "-p", "keep_permissions"]
        environ["PYTHONPATH"] = str(PLUGINS)
    output = run(command, project, environ, timeout=500)
    assert " passed" in output
    summary = output.strip().splitlines()[-1]
    assert not any(word in summary for word in ("skipped", "xfailed", "xpassed", "warning")), output
