"""A new choice in cookiecutter.json: each list of the tests and benchmarks includes it or fails loudly."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from support.emitted import clean_environ
from support.matrix import CHOICES, CONTEXT, TEMPLATE, complete

pytestmark = pytest.mark.xdist_group("choices")  # share what is collected today

COPIED = ("bench", "hooks", "tests", "tools", "cookiecutter.json", "demo.py", "pyproject.toml", ".github")
DUMMY = "dummy"


def collect(template) -> subprocess.CompletedProcess:
    """Collect every test of a template, combinations of CI included, without running any."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-m", "", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(command, cwd=template, env=clean_environ(), capture_output=True, text=True, timeout=120)


def cases(output: str) -> dict[str, set[str]]:
    """Return the parts of the parameters of each collected test, by its name."""
    found: dict[str, set[str]] = {}
    for name, parameters in re.findall(r"^(tests/\S+?::\w+)(?:\[(.*)\])?$", output, re.M):
        found.setdefault(name, set()).update(re.split(r"[-:]", parameters.replace("in-memory", "in_memory")))
    return found


@pytest.fixture(scope="module")
def today():
    """The collected tests of the template as it is."""
    done = collect(TEMPLATE)
    assert done.returncode == 0, done.stdout
    return cases(done.stdout)


@pytest.fixture
def copy(tmp_path):
    """A copy of the template without its builds."""
    for name in COPIED:
        source, target = TEMPLATE / name, tmp_path / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy(source, target)
    (tmp_path / "{{cookiecutter.project_slug}}").symlink_to(TEMPLATE / "{{cookiecutter.project_slug}}")
    return tmp_path


def add_choice(template, question: str) -> None:
    """Add a choice to a question, with a label and a row of facts."""
    context = json.loads(json.dumps(CONTEXT))
    context[question].append(DUMMY)
    context["__prompts__"][question][DUMMY] = f"{DUMMY}: a choice"
    context["_choices"][question][DUMMY] = context["_choices"][question][CHOICES[question][0]]
    (template / "cookiecutter.json").write_text(json.dumps(context), encoding="utf-8")


@pytest.mark.parametrize("question", ["server", "channel_layer", "consumers", "auth", "database"])
def test_new_choice_is_met_or_fails_loudly(question, copy, today):
    """A test that runs with every choice runs with a new one, or its file fails and names the new one."""
    add_choice(copy, question)
    done = collect(copy)
    met = cases(done.stdout)
    failed = dict(re.findall(r"^ERROR (tests/\S+) - (.*)$", done.stdout, re.M))
    assert {error for error in failed.values() if f"{question}={DUMMY}" not in error} == set()
    choices = {choice.replace("-", "_") for choice in CHOICES[question]}
    expected = {name for name, parts in today.items() if choices <= parts and name.partition("::")[0] not in failed}
    assert len(expected) > 1
    assert {name for name in expected if DUMMY not in met.get(name, ())} == set()


def test_new_server_is_compared_with_tables(copy):
    """The tables of options and of the benchmark fail and name a fourth server. Those of the matrix include it."""
    add_choice(copy, "server")
    pytest_command = [sys.executable, "-m", "pytest", "--quiet", "-n", "0", "-p", "no:cacheprovider"]
    tests = ["tests/test_matrix.py", "tests/test_options.py::test_table_has_every_option"]
    done = subprocess.run([*pytest_command, *tests], cwd=copy, env=clean_environ(), capture_output=True, text=True)
    assert re.findall(r"^FAILED (\S+)", done.stdout, re.M) == ["tests/test_options.py::test_table_has_every_option"]
    assert f"('server', '{DUMMY}')" in done.stdout
    command = [sys.executable, "-c", "import bench.contestants"]
    environ = clean_environ(PYTHONPATH=os.pathsep.join([".", "tests"]))
    done = subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith(f"LookupError: server={DUMMY} has no row in this table")


def test_incomplete_table_is_refused():
    """The error names the choice without a row."""
    table = dict.fromkeys(CHOICES["server"], 1)
    assert complete("server", table) == table
    table.pop(CHOICES["server"][-1])
    with pytest.raises(LookupError, match=f"server={CHOICES['server'][-1]} has no row"):
        complete("server", table)
