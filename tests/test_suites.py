"""Every core combination passes its own tests: all of them, or what depends on its server and layer."""

import pytest
from support.emitted import FAST, bake, environ_for, run
from support.matrix import all_examples, is_measured, is_quick, is_whole, label, rotated

# Tests that start the server or concern the whole project.
DEPENDENT = ["chat/tests/test_live.py", "tests"]
ALL_TESTS = ["uv", "run", "pytest"]
# Lines that a developer may have in `.env`.
OWN = {
    "SIGNUP_OPEN": "false",
    "CHAT_OPEN_ROOMS": "false",
    "MESSAGE_RETENTION_DAYS": "30",
    "EMAIL_FROM": "site@example.org",
    "METRICS_TOKEN": "x" * 32,
    "HSTS_SECONDS": "0",
    "LOG_LEVEL": "WARNING",
    "LOG_FORMAT": "json",
    "PORT": "9000",
}


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
    """The project's tests succeed and skip none, some as `make test` with 95 % coverage."""
    project = bake(cookies, **answers)
    environ = environ_for(environment(python, answers["django_version"]), **FAST, **services(answers))
    command = ["make", "test"]
    if not is_measured(answers, python):
        paths = [] if is_whole(answers, python) else DEPENDENT
        command = [*ALL_TESTS, *paths]
    check_summary(run(command, project, environ, timeout=500))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("answers", "python", "command"),
    [
        # Coverage is measured with each sign-in, and in both styles.
        pytest.param(answers, python, ALL_TESTS if number % 2 else ["make", "test"], id=f"{label(answers)}-{python}")
        for number, (answers, python) in enumerate(all_examples())
    ],
)
def test_suite_of_all_sample_apps_passes(answers, python, command, cookies, environment, services):
    """The tests of a project with all sample apps succeed and skip none, every other time with 95 % coverage.

    They need no broker, and no setting of the examples.
    """
    project = bake(cookies, **answers)
    variables = {"MQTT_URL": "mqtt://127.0.0.1:1", **OWN, **FAST, **services(answers)}
    environ = environ_for(environment(python, answers["django_version"]), **variables)
    check_summary(run(command, project, environ, timeout=500))


def check_summary(output):
    """Check that pytest passed all tests without a warning."""
    assert " passed" in output
    summary = output.strip().splitlines()[-1]
    assert not any(word in summary for word in ("skipped", "xfailed", "xpassed", "warning")), output
