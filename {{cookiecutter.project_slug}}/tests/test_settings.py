"""What the environment may say, and what is answered to mistakes."""

import os
import subprocess
import sys

import pytest
from dotenv import dotenv_values

from config.environment import BASE_DIR

EXAMPLE = {key: value or "" for key, value in dotenv_values(BASE_DIR / ".env.example").items()}
PRODUCTION = EXAMPLE | {
    "DEBUG": "false",
    "SECRET_KEY": "x" * 64,
    "ALLOWED_HOSTS": "chat.example.com",
    "ALLOWED_ORIGINS": "https://chat.example.com",
}


def load(environment: dict[str, str]) -> tuple[int, list[str]]:
    """Load the settings in a process of its own; returns its exit code and the lines it printed."""
    process = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        env=os.environ | environment,
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
    )
    return process.returncode, process.stderr.splitlines()


def test_the_example_is_a_whole_environment() -> None:
    """Development starts with .env.example, and production with a few values of its own."""
    assert load(EXAMPLE) == (0, [])
    assert load(PRODUCTION) == (0, [])


def test_production_has_a_secret_of_its_own() -> None:
    """With the key that everybody can read it does not start, and says how to make one."""
    code, lines = load(PRODUCTION | {"SECRET_KEY": EXAMPLE["SECRET_KEY"]})
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("SECRET_KEY: It is insecure, as the one of .env.example is.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "perhaps"),
        ("SECRET_KEY", "short"),
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("WEB_CONCURRENCY", "0"),
        ("DATABASE_URL", "mysql://db/name"),
        ("DATABASE_URL", "{{ cookiecutter.database }}://host:port/name"),
        ("ALLOWED_ORIGINS", ""),
        ("ALLOWED_ORIGINS", "chat.example"),
        ("ALLOWED_ORIGINS", "https://chat.example/"),
        ("FORWARDED_ALLOW_IPS", "nginx"),
        ("MACHINES", "none"),
        ("LOG_LEVEL", "LOUD"),
{% if cookiecutter.channel_layer == "redis" %}
        ("REDIS_URL", "localhost"),
        ("REDIS_URL", "redis://:password@one:6379,two:6379"),
{% else %}
        ("WEB_CONCURRENCY", "2"),
{% endif %}
{% if cookiecutter.auth != "none" %}
        ("SIGNUP_OPEN", "sometimes"),
{% endif %}
    ],
)
def test_a_bad_value_ends_the_start_with_one_line(name: str, value: str) -> None:
    """The line names the variable and gives an example."""
    code, lines = load(PRODUCTION | {name: value})
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith(f"{name}: ")
    assert f"Example: {name}={EXAMPLE[name]}" in lines[0]


def test_all_mistakes_are_shown_at_once() -> None:
    """One line for each."""
    code, lines = load(PRODUCTION | {"PORT": "x", "DEBUG": "x"})
    assert (code, sorted(line.split(":")[0] for line in lines)) == (1, ["DEBUG", "PORT"])
