"""Settings from the environment, and errors for invalid ones."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module

import pytest
from django.utils.text import slugify
from dotenv import dotenv_values

from config.settings import BASE_DIR

type Load = Callable[[dict[str, str]], list[str]]

EXAMPLE = {key: value or "" for key, value in dotenv_values(BASE_DIR / ".env.example").items()}
PRODUCTION = EXAMPLE | {
    "DEBUG": "false",
    "SECRET_KEY": "x" * 64,
    "ALLOWED_HOSTS": "chat.example.com",
    "ALLOWED_ORIGINS": "https://chat.example.com",
    "DATABASE_URL": re.sub(r":\w+@", ":xxxxxxxxxxxx@", EXAMPLE["DATABASE_URL"]),
    "REDIS_URL": re.sub(r":\w+@", ":xxxxxxxxxxxx@", EXAMPLE["REDIS_URL"]),
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return a function that reads the settings again, and returns the lines of an error."""

    def load(environment: dict[str, str]) -> list[str]:
        with monkeypatch.context() as anew:
            for name, value in environment.items():
                anew.setenv(name, value)
            anew.delitem(sys.modules, "config.settings")
            try:
                import_module("config.settings")
            except SystemExit as end:
                return str(end.code).splitlines()
            return []

    return load


def test_the_example_is_a_whole_environment(load: Load) -> None:
    """Development starts with .env.example, and production with a few values of its own."""
    assert load(EXAMPLE) == []
    assert load(PRODUCTION) == []


def cookies_and_hsts(environment: dict[str, str]) -> list[str]:
    """Return the names of the cookies, and each setting that binds browsers or other hosts."""
    code = (
        "import config.settings as s; "
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME); "
        "print({name: getattr(s, name) for name in dir(s) if 'HSTS_' in name or '_DOMAIN' in name})"
    )
    return subprocess.check_output(
        [sys.executable, "-c", code], env=os.environ | environment, cwd=BASE_DIR, text=True
    ).splitlines()


def test_production_binds_browsers_to_this_host_only() -> None:
    """HSTS is short until it is raised, and the name of a cookie proves that this host set it."""
    assert cookies_and_hsts(PRODUCTION) == [
        "__Host-sessionid __Host-csrftoken",
        "{'HSTS_SECONDS': 3600, 'SECURE_HSTS_SECONDS': 3600}",
    ]


def test_development_keeps_its_cookies_apart() -> None:
    """Browsers send the cookies of one port of 127.0.0.1 to all others; HTTPS is not required."""
    project = slugify(BASE_DIR.name)
    assert cookies_and_hsts(EXAMPLE) == [
        f"{project}-sessionid {project}-csrftoken",
        "{'HSTS_SECONDS': 3600}",
    ]


def test_production_has_a_secret_of_its_own(load: Load) -> None:
    """Production refuses the published key, and names the command that makes one."""
    (line,) = load(PRODUCTION | {"SECRET_KEY": EXAMPLE["SECRET_KEY"]})
    assert line.startswith("SECRET_KEY: Insecure, because everybody can read it in .env.example.")


def test_all_mistakes_are_shown_at_once() -> None:
    """A process ends with one line per problem."""
    process = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        env=os.environ | PRODUCTION | {"PORT": "x", "DEBUG": "x"},
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
    )
    names = sorted(line.split(":")[0] for line in process.stderr.splitlines())
    assert (process.returncode, names) == (1, ["DEBUG", "PORT"])
