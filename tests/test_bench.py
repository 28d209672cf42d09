"""Brief benchmarks: every contestant starts and is measured. No figure is judged."""

import re
import subprocess
import sys

import pytest
from support.browsers import find_browser
from support.emitted import clean_environ
from support.matrix import TEMPLATE
from support.programs import require_programs

from bench.scenarios import SCENARIOS

# Share the projects of one run, and build/demo with its own tests.
pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(900)]


def bench(program=("-m", "bench.engine")) -> subprocess.CompletedProcess:
    """Run the benchmarks briefly, with the Node of the tests' environment on the PATH."""
    command = [sys.executable, *program, "--brief", "--rounds", "1", "--seconds", "0.2"]
    environ = clean_environ(PYTHONPATH=".:tests")
    return subprocess.run(command, cwd=TEMPLATE, env=environ, capture_output=True, text=True, timeout=800)


@pytest.fixture(scope="module")
def report():
    """Run all scenarios together. Return the exit code and each scenario's output by name."""
    require_programs({"cc": "build-essential"})
    find_browser("chromium")
    done = bench()
    print(done.stdout, done.stderr)
    sections = re.split(r"^([a-z-]+): (?=[A-Z])", done.stdout, flags=re.M)[1:]
    return done, dict(zip(sections[::2], sections[1::2], strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_measures_every_contestant(scenario, report):
    """Each ratio has both sides, and no contestant fails."""
    section = report[1][scenario]
    assert "failed" not in section
    assert not re.search(r"^ +- ", section, re.M), "a ratio lacks a side"
    assert re.search(r"\d", section.partition("\n")[2])


def test_run_succeeds_with_all_peers(report):
    """No peer is left out, and the exit code is 0."""
    done, _ = report
    assert (done.returncode, done.stderr) == (0, "")
    assert "left out" not in done.stdout


BROKEN = """
import sys
from bench import engine
from bench.contestants import Contestant, fastapi
from bench.scenarios import ROUND_TRIPS, Table, echo

def scenario(plan):
    "One server that works after one that does not."
    table = Table(ROUND_TRIPS)
    plan.play(table, [Contestant("broken", (sys.executable, "-c", "exit(3)")), fastapi()], {"echo": echo})
    table.print_rows()

engine.SCENARIOS = {"test": scenario}
engine.main()
"""


def test_failed_contestant_ends_the_run_with_an_error():
    """The other contestants are measured first, and the last lines name the failed one."""
    done = bench(program=("-c", BROKEN))
    assert done.returncode == 1
    assert re.search(r"^  FastAPI +[\d,]+ ", done.stdout, re.M)
    log = "its log is build/bench/broken.log"
    assert done.stderr == f"These failed:\nbroken, at the start: the server ended with 3; {log}\n"
