"""Settings from the environment, and errors for invalid ones."""

import re
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest
from django.utils.text import slugify
from dotenv import dotenv_values

from config.settings import BASE_DIR

type Load = Callable[[dict[str, str]], ModuleType]

EXAMPLE = {key: value or "" for key, value in dotenv_values(BASE_DIR / ".env.example").items()}
PRODUCTION = {key: re.sub(r":\w+@", ":xxxxxxxxxxxx@", value) for key, value in EXAMPLE.items()} | {
    "DEBUG": "false",
    "SECRET_KEY": "x" * 64,
    "ALLOWED_HOSTS": "chat.example.com",
    "ALLOWED_ORIGINS": "https://chat.example.com",
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return a function that reads the settings again from an environment."""

    def load(environment: dict[str, str]) -> ModuleType:
        with monkeypatch.context() as again:
            for name, value in environment.items():
                again.setenv(name, value)
            again.delitem(sys.modules, "config.settings")
            return import_module("config.settings")

    return load


@pytest.mark.parametrize(
    ("environment", "prefix", "hsts"),
    [
        (EXAMPLE, f"{slugify(BASE_DIR.name)}-", ["HSTS_SECONDS"]),
        (PRODUCTION, "__Host-", ["HSTS_SECONDS", "SECURE_HSTS_SECONDS"]),
    ],
    ids=["development", "production"],
)
def test_browsers_bind_cookies_and_https_to_this_host(
    load: Load, environment: dict[str, str], prefix: str, hsts: list[str]
) -> None:
    """The example starts both. Cookies of 127.0.0.1 differ by project, because ports share them.

    In production their name proves that this host set them. HSTS is short until it is raised.
    """
    settings = load(environment)
    names = [settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME]
    assert names == [f"{prefix}sessionid", f"{prefix}csrftoken"]
    bound = {name: getattr(settings, name) for name in dir(settings) if "HSTS_" in name}
    assert bound == dict.fromkeys(hsts, 3600)
    assert not [name for name in dir(settings) if "_DOMAIN" in name]


def test_mistakes_are_shown_at_once(load: Load) -> None:
    """The start ends with one line per problem, such as the published key in production."""
    mistakes = {"PORT": "x", "DEBUG": "x", "SECRET_KEY": EXAMPLE["SECRET_KEY"]}
    with pytest.raises(SystemExit) as end:
        load(PRODUCTION | mistakes)
    lines = sorted(str(end.value.code).splitlines())
    assert [line.partition(":")[0] for line in lines] == ["DEBUG", "PORT", "SECRET_KEY"]
    assert "Insecure, because everybody can read it in .env.example" in lines[-1]
