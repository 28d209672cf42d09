"""Fixtures that are expensive, so that each worker has them once."""

import functools
import os
import sys

import pytest
from filelock import FileLock
from support import emitted
from support.emitted import BUILD, build_environment
from support.servers import Postgres, Redis

collect_ignore = ["engine"]  # runs inside baked projects


def pytest_xdist_auto_num_workers():
    """One more than there are cores, for much of what the tests do is waiting until somebody is back."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def announce(pytestconfig):
    """From here on, what takes long to install is said at once, and not kept with the output of a test."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(line):
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", file=sys.stderr, flush=True)

    emitted.announce = say


@pytest.fixture(scope="session")
def environment(cookies_session):
    """A function that returns the shared environment of a Python and a Django, and builds it where it is not there."""

    @functools.cache
    def get(python, django):
        BUILD.joinpath("environments").mkdir(parents=True, exist_ok=True)
        with FileLock(BUILD / "environments" / f"python{python}-django{django}.lock"):
            return build_environment(cookies_session, python, django)

    return get


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    """A real Redis, shared by the tests of one worker; those of the emitted projects keep to groups of their own."""
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
    """A function that returns the environment variables of the services that these answers need, all of them real."""

    def get(answers):
        variables = {}
        if answers["channel_layer"] == "redis":
            variables["REDIS_URL"] = f"{request.getfixturevalue('redis').url}/0"
        if answers["database"] == "postgresql":
            variables["DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
        return variables

    return get
