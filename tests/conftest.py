"""Expensive fixtures, made once per worker."""

import contextlib
import functools
import os
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from support import emitted
from support.emitted import BUILD, build_environment
from support.servers import Postgres, Redis
from support.template import Template

collect_ignore = ["engine"]  # runs inside baked projects

MEMORY = Path("/dev/shm")
NEEDED = 4 * 1024**3  # bytes free in memory, else folders of tests are on the disk


def pytest_configure():
    """Bake projects in memory. On a disk SQLite waits milliseconds for each transaction."""
    with contextlib.suppress(OSError):
        place = os.statvfs(MEMORY)
        usable = os.access(MEMORY, os.W_OK) and not place.f_flag & os.ST_NOEXEC
        if usable and place.f_bavail * place.f_frsize > NEEDED:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_xdist_auto_num_workers():
    """Use one worker more than there are cores, because much of the tests' time is waiting."""
    return (os.cpu_count() or 1) + 1


def pytest_runtest_logreport(report):
    """Name a failed test at once. A run that is cut short prints no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        reason = next((line for line in report.longreprtext.splitlines() if line.startswith("E ")), "")
        print(f"\nFAILED {report.nodeid} ({report.when}) {reason[:200]}", file=sys.stderr, flush=True)


@pytest.fixture(scope="session", autouse=True)
def announce(pytestconfig):
    """Print long installations at once, instead of with the output of a test."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(line):
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", file=sys.stderr, flush=True)

    emitted.announce = say


@pytest.fixture(scope="session")
def environment(cookies_session):
    """Return a function for the shared environment of a Python and a Django, which builds a missing one."""

    @functools.cache
    def get(python, django):
        BUILD.joinpath("environments").mkdir(parents=True, exist_ok=True)
        with FileLock(BUILD / "environments" / f"python{python}-django{django}.lock"):
            return build_environment(cookies_session, python, django)

    return get


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    """A real Redis, shared by the tests of one worker. Emitted projects use groups of their own."""
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres():
    """A real PostgreSQL, shared by the tests of one worker."""
    server = Postgres()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def services(request):
    """Return a function for the environment variables of the real services that these answers need."""

    def get(answers):
        variables = {}
        if answers["channel_layer"] == "redis":
            variables["REDIS_URL"] = f"{request.getfixturevalue('redis').url}/0"
        if answers["database"] == "postgresql":
            variables["DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
        return variables

    return get


@pytest.fixture
def template(tmp_path):
    """A repository with the template, from which cruft makes projects."""
    return Template(tmp_path)
