"""Each option changes the files that it has to change and no others, and equal answers give equal bytes."""

import os
import re
import stat
from pathlib import Path

import pytest
from support.emitted import bake
from support.matrix import CHOICES, PRESUPPOSED

pytestmark = pytest.mark.quick

# What differs from the default project when one answer changes: "+" came, "-" went, the others have other bytes.
DIFFERENCES = {
    ("project_name", "Other Site"): {
        "LICENSE",
        "README.md",
        "compose.yaml",
        "deploy/README.md",
        "pyproject.toml",
        "templates/site_name.html",
    },
    ("project_slug", "other_site"): {"compose.yaml", "deploy/README.md", "pyproject.toml"},
    ("description", "Another description."): {"README.md", "pyproject.toml"},
    ("author_name", "Ann Author"): {"LICENSE", "pyproject.toml"},
    ("author_email", "ann@example.com"): {"SECURITY.md", "pyproject.toml"},
    ("server", "daphne"): {
        "AGENTS.md",
        "README.md",
        "+config/draining.py",
        "config/protocols.py",
        "config/server.py",
        "config/settings.py",
        "pyproject.toml",
    },
    ("server", "hypercorn"): {
        "README.md",
        "config/protocols.py",
        "config/server.py",
        "pyproject.toml",
        "+tests/test_http2.py",
    },
    ("channel_layer", "redis"): {
        ".env.example",
        ".github/workflows/ci.yml",
        "AGENTS.md",
        "README.md",
        "SECURITY.md",
        "compose.yaml",
        "+config/hosts.py",
        "config/settings.py",
        "config/startup.py",
        "deploy/README.md",
        "docs/message.md",
        "pyproject.toml",
        "realtime/checks.py",
        "realtime/layers.py",
        "realtime/logs.py",
        "realtime/places.py",
        "tests/test_checks.py",
        "tests/conftest.py",
        "+tests/test_hosts.py",
        "+tests/test_layers.py",
        "tests/test_settings.py",
    },
    ("consumers", "sync"): {
        "AGENTS.md",
        "chat/consumers.py",
        "docs/message.md",
        "docs/recipes/add-a-consumer.md",
        "realtime/consumers.py",
        "tests/ordinary.py",
        "tests/slow.py",
    },
    ("auth", "token"): {
        "AGENTS.md",
        "README.md",
        "SECURITY.md",
        "accounts/admin.py",
        "accounts/apps.py",
        "+accounts/authentication.py",
        "+accounts/middleware.py",
        "+accounts/migrations/0002_tokens.py",
        "accounts/models.py",
        "+accounts/revocation.py",
        "+accounts/token_views.py",
        "+accounts/tokens.py",
        "accounts/urls.py",
        "config/settings.py",
        "docs/recipes/add-a-consumer.md",
        "realtime/static/realtime/client.js",
        "tests/entrance.py",
        "tests/people.py",
        "tests/test_auth.py",
    },
    ("auth", "none"): {
        ".env.example",
        "AGENTS.md",
        "README.md",
        "SECURITY.md",
        "-accounts/__init__.py",
        "-accounts/admin.py",
        "-accounts/apps.py",
        "-accounts/forms.py",
        "-accounts/migrations/0001_initial.py",
        "-accounts/migrations/__init__.py",
        "-accounts/models.py",
        "-accounts/signals.py",
        "-accounts/templates/accounts/login.html",
        "-accounts/templates/accounts/signup.html",
        "-accounts/templates/identity.html",
        "-accounts/urls.py",
        "-accounts/views.py",
        "config/settings.py",
        "config/urls.py",
        "deploy/README.md",
        "deploy/nginx.conf",
        "docs/recipes/add-a-consumer.md",
        "realtime/health.py",
        "realtime/metrics.py",
        "docs/recipes/README.md",
        "-docs/recipes/sign-in-by-email.md",
        "+templates/identity.html",
        "tests/entrance.py",
        "tests/people.py",
        "-tests/test_accounts.py",
        "tests/test_auth.py",
        "tests/test_settings.py",
    },
    ("database", "postgresql"): {
        ".env.example",
        ".github/workflows/ci.yml",
        "AGENTS.md",
        "README.md",
        "SECURITY.md",
        "compose.yaml",
        "config/settings.py",
        "-config/sqlite.py",
        "config/startup.py",
        "deploy/README.md",
        "+deploy/postgresql.sh",
        "manage.py",
        "pyproject.toml",
        "realtime/checks.py",
        "realtime/logs.py",
        "tests/test_checks.py",
        "tests/test_settings.py",
        "tests/test_startup.py",
    },
    ("deploy", "kubernetes"): {
        ".github/workflows/ci.yml",
        ".gitignore",
        "Makefile",
        "README.md",
        "+deploy/kubernetes/cleanup.yaml",
        "SECURITY.md",
        "+deploy/kubernetes/README.md",
        "+deploy/kubernetes/configmap.yaml",
        "+deploy/kubernetes/deployment.yaml",
        "+deploy/kubernetes/envoy.yaml",
        "+deploy/kubernetes/gateway.yaml",
        "+deploy/kubernetes/hpa.yaml",
        "+deploy/kubernetes/kustomization.yaml",
        "+deploy/kubernetes/migrate.yaml",
        "+deploy/kubernetes/namespace.yaml",
        "+deploy/kubernetes/networkpolicy.yaml",
        "+deploy/kubernetes/pdb.yaml",
        "+deploy/kubernetes/secret.example.yaml",
        "+deploy/kubernetes/service.yaml",
    },
    ("deploy", "none"): {
        "-.dockerignore",
        ".env.example",
        ".github/dependabot.yml",
        ".github/workflows/ci.yml",
        "-Dockerfile",
        "README.md",
        "SECURITY.md",
        "-compose.yaml",
        "-deploy/README.md",
        "-deploy/nginx.conf",
    },
    ("ci", "gitlab"): {
        "-.github/dependabot.yml",
        "-.github/workflows/ci.yml",
        "-.github/workflows/update.yml",
        "+.gitlab-ci.yml",
    },
    ("ci", "none"): {"-.github/dependabot.yml", "-.github/workflows/ci.yml", "-.github/workflows/update.yml"},
    ("django_version", "5.2"): {"README.md", "config/settings.py", "pyproject.toml", "realtime/middleware.py"},
    ("license", "BSD-3-Clause"): {"LICENSE", "pyproject.toml"},
    ("license", "Apache-2.0"): {"LICENSE", "pyproject.toml"},
    ("license", "Proprietary"): {"LICENSE", "pyproject.toml"},
}


def content(project: Path) -> dict[str, bytes]:
    """The files of a project, but for .env, whose secret always differs."""
    files = {path.relative_to(project).as_posix(): path for path in project.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != ".env"}


def difference(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    came = {f"+{name}" for name in other.keys() - one.keys()}
    went = {f"-{name}" for name in one.keys() - other.keys()}
    return came | went | {name for name in one.keys() & other.keys() if one[name] != other[name]}


def test_table_has_every_option():
    """No choice but the defaults is missing in the table."""
    options = {(question, choice) for question, (_, *choices) in CHOICES.items() for choice in choices}
    assert {option for option in DIFFERENCES if option[0] in CHOICES} == options


@pytest.mark.parametrize(("question", "answer"), DIFFERENCES, ids=lambda value: value.replace(" ", "_"))
def test_option_changes_its_files_only(question, answer, cookies):
    """Bytes are compared, for every file of both projects."""
    base = PRESUPPOSED.get((question, answer), {})
    default, changed = content(bake(cookies, **base)), content(bake(cookies, **base, **{question: answer}))
    assert difference(default, changed) == DIFFERENCES[question, answer]


def secret_and_rest(project: Path) -> tuple[str, str]:
    """The secret in .env, and what is left of the file."""
    text = (project / ".env").read_bytes().decode()
    (secret,) = re.findall("^SECRET_KEY=(.+)$", text, re.MULTILINE)
    return secret, text.replace(secret, "")


@pytest.mark.parametrize("auth", CHOICES["auth"])
def test_equal_answers_give_equal_bytes(auth, cookies):
    """Two generations differ in the secret of .env and in nothing else."""
    one, other = (bake(cookies, auth=auth, channel_layer="redis", database="postgresql") for _ in range(2))
    assert content(one) == content(other)
    (secret, rest), (other_secret, other_rest) = secret_and_rest(one), secret_and_rest(other)
    assert rest == other_rest
    assert secret != other_secret
    assert (len(secret), len(other_secret)) == (64, 64)


def test_env_holds_development_values(cookies):
    """It names what the chosen services need, and only its owner may read it."""
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


def test_next_commands_are_said(cookies, capfd):
    """The closing message has a line that starts the chosen services, and nothing else of compose.yaml."""
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
