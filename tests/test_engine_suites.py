"""The engine's own suite passes inside baked projects, over servers, layers and styles."""

import re
import shutil

import pytest
from support.emitted import FAST, bake, environ_for, run
from support.matrix import (
    CHOICES,
    ENGINE,
    TEMPLATE,
    covering,
    engine_expression,
    engine_runs,
    is_engine_measured,
    label,
)
from support.programs import require_programs

SUITE = TEMPLATE / "tests" / "engine"
CONFIG = "engine/pyproject.toml"
COVERED = 95  # percent of `realtime/` in all measured runs together
RUNS = {label({key: answers[key] for key in ENGINE}): (answers, python) for answers, python in engine_runs()}
USER_MODELS = ("auth.User", "engine.Member")
MEASURED = pytest.mark.xdist_group("engine-coverage")
QUICK = [label(answers) for answers in covering(*ENGINE)]


def user_model(answers):
    """Return the user model of a run. Each server, layer and style meets both."""
    return USER_MODELS[sum(CHOICES[key].index(answers[key]) for key in ENGINE) % 2]


def test_each_choice_meets_both_user_models():
    """A swapped user model is tested on each server and layer, and in each style."""
    met = {(choice, user_model(answers)) for answers, _ in RUNS.values() for choice in map(answers.get, ENGINE)}
    assert met == {(choice, model) for key in ENGINE for choice in CHOICES[key] for model in USER_MODELS}


@pytest.fixture(scope="session")
def engine_suite(request, cookies_session, environment, services):
    """Return a function that runs a run's part of the suite once. It returns project, environ and output.

    `make check` measures nothing, and starts no servers.
    """
    require_programs({"mosquitto": "mosquitto"})
    done = {}
    is_reported = any(item.function is test_engine_is_covered for item in request.session.items)

    def get(name):
        if name not in done:
            answers, python = RUNS[name]
            project = bake(cookies_session, **answers)
            shutil.copytree(SUITE, project / "engine", ignore=shutil.ignore_patterns("__pycache__"))
            environ = environ_for(
                environment(python, answers["django_version"]),
                SERVER=answers["server"],
                ENGINE_CONSUMERS=answers["consumers"],
                ENGINE_USER_MODEL=user_model(answers),
                **FAST,
                **services(answers),
            )
            command = ["uv", "run", "python", "-m", "pytest", "-c", CONFIG, "engine"]
            options = ["-m", engine_expression(answers, python) if is_reported else "not server and not start"]
            if is_reported and is_engine_measured(answers, python):
                options += ["--cov", f"--cov-config={CONFIG}", "--cov-report="]
            done[name] = project, environ, run([*command, *options], project, environ, timeout=900)
        return done[name]

    return get


@pytest.mark.timeout(1000)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            id=f"{name}-{label(answers)}-{python}",
            marks=[
                # One worker does all that is measured.
                *([MEASURED] if is_engine_measured(answers, python) else []),
                *([pytest.mark.quick] if name in QUICK else []),
            ],
        )
        for name, (answers, python) in RUNS.items()
    ],
)
def test_engine_suite_passes(name, engine_suite):
    """Every test of a run's part of the suite succeeds, and none is skipped."""
    _, _, output = engine_suite(name)
    summary = output.strip().splitlines()[-1]
    assert " passed" in summary
    assert not any(word in summary for word in ("skipped", "xfailed", "xpassed", "warning")), output


@MEASURED
@pytest.mark.timeout(4000)
def test_engine_is_covered(engine_suite):
    """Runs on each server and layer together cover the engine."""
    runs = [engine_suite(name) for name, run in RUNS.items() if is_engine_measured(*run)]
    project, environ, _ = runs[0]
    for number, (other, _, _) in enumerate(runs):
        shutil.copy(other / ".coverage", project / f".coverage.{number}")
    coverage = ["uv", "run", "coverage"]
    run([*coverage, "combine", "--keep", f"--rcfile={CONFIG}"], project, environ)
    # test_runserver.py and test_load.py run these.
    omitted = "realtime/management/commands/runserver.py,realtime/load.py"
    report = ["report", f"--rcfile={CONFIG}", "--skip-covered", "--show-missing", f"--omit={omitted}"]
    output = run([*coverage, *report], project, environ)
    (total,) = map(int, re.findall(r"^TOTAL.* (\d+)%$", output, re.MULTILINE))
    assert total >= COVERED, output
