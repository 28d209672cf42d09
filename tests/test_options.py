"""Each option changes exactly its files, and equal answers give equal bytes."""

import os
import stat
import sys

import pytest
from support.differences import DIFFERENCES, content, difference, secret_and_rest
from support.emitted import bake, clean_environ, run
from support.matrix import CHOICES, PRESUPPOSED

pytestmark = pytest.mark.quick


def test_table_has_every_option():
    """The table has every choice except the defaults."""
    options = {(question, choice) for question, (_, *choices) in CHOICES.items() for choice in choices}
    assert {option for option in DIFFERENCES if option[0] in CHOICES} == options


@pytest.mark.parametrize(("question", "answer"), DIFFERENCES, ids=lambda value: value.replace(" ", "_"))
def test_option_changes_its_files_only(question, answer, cookies):
    """An option changes the bytes of its files and of no others."""
    base = PRESUPPOSED.get((question, answer), {})
    default, changed = content(bake(cookies, **base)), content(bake(cookies, **base, **{question: answer}))
    assert difference(default, changed) == DIFFERENCES[question, answer]


@pytest.mark.parametrize("auth", CHOICES["auth"])
def test_equal_answers_give_equal_bytes(auth, cookies):
    """Two generations differ only in the secret of .env."""
    one, other = (bake(cookies, auth=auth, channel_layer="redis", database="postgresql") for _ in range(2))
    assert content(one) == content(other)
    (secret, rest), (other_secret, other_rest) = secret_and_rest(one), secret_and_rest(other)
    assert rest == other_rest
    assert secret != other_secret
    assert (len(secret), len(other_secret)) == (64, 64)


def test_env_holds_development_values(cookies):
    """.env has the values of the chosen services, and only its owner may read it."""
    expected = {
        ("in-memory", "sqlite"): ["DATABASE_URL=sqlite:///db.sqlite3"],
        ("redis", "sqlite"): [
            "DATABASE_URL=sqlite:///db.sqlite3",
            "REDIS_URL=redis://:redis@127.0.0.1:6379/0",
            "REDIS_PASSWORD=redis",
        ],
        ("in-memory", "postgresql"): [
            "DATABASE_URL=postgresql://site:postgres@127.0.0.1:5432/my_site",
            "POSTGRES_PASSWORD=postgres",
        ],
    }
    for (layer, database), values in expected.items():
        project = bake(cookies, project_slug="my-site", channel_layer=layer, database=database)
        _, rest = secret_and_rest(project)
        lines = [line for line in rest.splitlines() if not line.startswith("#")]
        assert lines == ["DEBUG=true", "SECRET_KEY=", *values]
        if os.name == "posix":
            assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600


def test_clone_gets_an_env_of_its_own(cookies):
    """`make setup` writes the .env that generation wrote, with another secret."""
    project = bake(cookies, channel_layer="redis", database="postgresql")
    secret, rest = secret_and_rest(project)
    environ = clean_environ(UV_PYTHON=sys.executable, UV_OFFLINE="1")
    assert "realtime.dotenv" not in run(["make", "--dry-run", "setup"], project, environ)
    (project / ".env").unlink()
    first, *_ = run(["make", "--dry-run", "setup"], project, environ).splitlines()
    run(first.split(), project, environ)
    other_secret, other_rest = secret_and_rest(project)
    assert (other_rest, len(other_secret), other_secret == secret) == (rest, 64, False)
    if os.name == "posix":
        assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600


def test_next_commands_are_printed(cookies, capfd):
    """The closing message starts exactly the chosen services of compose.yaml."""
    started = {
        ("in-memory", "sqlite"): [],
        ("redis", "sqlite"): ["docker compose up -d redis"],
        ("redis", "postgresql"): ["docker compose up -d postgresql redis"],
    }
    for (layer, database), services in started.items():
        capfd.readouterr()
        project = bake(cookies, channel_layer=layer, database=database)
        commands = [line.strip() for line in capfd.readouterr().out.splitlines() if line.startswith("    ")]
        assert commands == [f'cd "{project}"', *services, "make setup", "make dev"]
