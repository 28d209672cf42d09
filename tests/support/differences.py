"""Files that each option changes, and comparison of projects by their files."""

import re
from pathlib import Path

# Differences from the default project when one answer changes: "+" is new, "-" is gone, the others have other bytes.
DIFFERENCES = {
    ("project_name", "Other Site"): {
        ".env.example",
        "LICENSE",
        "README.md",
        "compose.yaml",
        "deploy/README.md",
        "pyproject.toml",
        "templates/site_name.html",
    },
    ("project_slug", "other_site"): {".env.example", "compose.yaml", "deploy/README.md", "pyproject.toml"},
    ("description", "Another description."): {"README.md", "pyproject.toml"},
    ("author_name", "Ann Author"): {"LICENSE", "pyproject.toml"},
    ("author_email", "ann@example.com"): {"SECURITY.md", "pyproject.toml"},
    ("server", "daphne"): {
        ".env.example",
        "README.md",
        "config/settings.py",
        "pyproject.toml",
    },
    ("server", "hypercorn"): {
        ".env.example",
        "README.md",
        "config/settings.py",
        "pyproject.toml",
    },
    ("channel_layer", "redis"): {
        ".env.example",
        ".github/workflows/ci.yml",
        "AGENTS.md",
        "README.md",
        "SECURITY.md",
        "compose.yaml",
        "deploy/README.md",
        "docs/message.md",
        "pyproject.toml",
        "tests/test_settings.py",
    },
    ("consumers", "sync"): {
        "AGENTS.md",
        "chat/consumers.py",
        "docs/message.md",
        "docs/recipes/add-a-consumer.md",
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
        "+accounts/static/accounts/ticket.js",
        "+accounts/token_views.py",
        "+accounts/tokens.py",
        "accounts/urls.py",
        "chat/static/chat/room.js",
        "config/settings.py",
        "docs/recipes/add-a-consumer.md",
        "docs/recipes/sign-in-by-email.md",
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
        "deploy/README.md",
        "+deploy/postgresql.sh",
        "pyproject.toml",
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
    ("django_version", "5.2"): {"README.md", "config/settings.py", "pyproject.toml"},
    ("license", "BSD-3-Clause"): {"LICENSE", "pyproject.toml"},
    ("license", "Apache-2.0"): {"LICENSE", "pyproject.toml"},
    ("license", "Proprietary"): {"LICENSE", "pyproject.toml"},
}


def content(project: Path) -> dict[str, bytes]:
    """Return the files of a project except .env, whose secret always differs."""
    files = {path.relative_to(project).as_posix(): path for path in project.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != ".env"}


def difference(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    came = {f"+{name}" for name in other.keys() - one.keys()}
    went = {f"-{name}" for name in one.keys() - other.keys()}
    return came | went | {name for name in one.keys() & other.keys() if one[name] != other[name]}


def secret_and_rest(project: Path) -> tuple[str, str]:
    """Return the secret in .env, and the rest of the file."""
    text = (project / ".env").read_bytes().decode()
    (secret,) = re.findall("^SECRET_KEY=(.+)$", text, re.MULTILINE)
    return secret, text.replace(secret, "")
