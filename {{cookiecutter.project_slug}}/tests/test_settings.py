"""What the environment may say, and what is answered to mistakes."""

import os
import subprocess
import sys

import pytest
from dotenv import dotenv_values

from config.environment import BASE_DIR

# What .env.example says is a whole environment for production.
PRODUCTION = {key: value or "" for key, value in dotenv_values(BASE_DIR / ".env.example").items()}


def load(**changes: str) -> tuple[int, list[str]]:
    """Load the settings in a process of its own; returns its exit code and the lines it printed."""
    environment = {**os.environ, **PRODUCTION, **changes}
    process = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        env=environment,
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
    )
    return process.returncode, process.stderr.splitlines()


def test_the_example_is_a_whole_environment() -> None:
    """Production starts with the variables of .env.example."""
    assert load() == (0, [])


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
        ("ALLOWED_ORIGINS", "chat.example"),
        ("ALLOWED_ORIGINS", "https://chat.example/"),
        ("LOG_LEVEL", "LOUD"),
{% if cookiecutter.channel_layer == "redis" %}
        ("REDIS_URL", "localhost"),
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
    code, lines = load(**{name: value})
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith(f"{name}: ")
    assert f"Example: {name}={PRODUCTION[name]}" in lines[0]


def test_all_mistakes_are_shown_at_once() -> None:
    """One line for each."""
    code, lines = load(PORT="x", DEBUG="x")
    assert (code, sorted(line.split(":")[0] for line in lines)) == (1, ["DEBUG", "PORT"])
