"""Baking of projects, and their own commands in shared environments."""

import functools
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import jinja2
from cookiecutter import generate

from demo import find_python
from support.matrix import CONTEXT, TEMPLATE, covering, requirements

BUILD = TEMPLATE / "build"
# Variables of pytest in baked projects. Without the plugin a suite takes twice the time (test_install.py has none).
PLUGINS = str(TEMPLATE / "tests" / "support" / "plugins")
FAST = {"PYTHONPATH": PLUGINS, "PYTEST_ADDOPTS": "-p keep_permissions"}
NO_LEAKS = ("PYTEST_", "COV_", "COVERAGE_", "DJANGO_", "MAKE", "MFLAGS", "UV_", "VIRTUAL_ENV")
# Compiling the imports in each of a thousand processes takes longer than most of their work.
NO_LEAKS += ("PYTHONDONTWRITEBYTECODE",)
KEPT = {"UV_CACHE_DIR", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL"}
SETTINGS = {
    line.partition("=")[0]
    for line in (TEMPLATE / "{{cookiecutter.project_slug}}" / ".env.example").read_text(encoding="utf-8").splitlines()
    if "=" in line and line[0] not in "#{"
}

announce = print  # conftest.py replaces it
compile_template = jinja2.Environment.compile
compiled = {}


def compile_once(self, *arguments, **options):
    """Compile a template once for all projects. Cookiecutter does it for each, in half of the time of a bake."""
    key = self.trim_blocks, self.lstrip_blocks, arguments, tuple(options.items())
    if key not in compiled:
        compiled[key] = compile_template(self, *arguments, **options)
    return compiled[key]


jinja2.Environment.compile = compile_once
# Look once at each file of the template whether it is binary, which takes half of the rest.
generate.is_binary = functools.cache(generate.is_binary)


def bake(cookies, **answers: str) -> Path:
    """Bake a new project. Fails unless cookiecutter used exactly these answers."""
    unknown = answers.keys() - CONTEXT.keys()
    assert not unknown, f"cookiecutter.json has no {unknown}"
    result = cookies.bake(extra_context=answers)
    assert result.exception is None, repr(result.exception)
    assert {key: result.context[key] for key in answers} == answers
    return result.project_path


def clean_environ(**variables: str) -> dict[str, str]:
    """Return our environment variables without those that change a project's behaviour, and with the given ones."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or (name not in SETTINGS and not name.startswith(NO_LEAKS))
    }
    if "REDIS_URL" in variables:  # other sites may use the same Redis
        variables.setdefault("REDIS_PREFIX", f"test-{uuid4().hex}")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**inherited, "PATH": path, **variables}


def run(command: list[str], folder: Path, environ: dict[str, str], timeout: float = 240) -> str:
    """Run a command that must succeed. Return its output."""
    done = subprocess.run(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout
    )
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{' '.join(command)} in {folder} ended with {done.returncode}:\n{output}"
    return output


def build_environment(cookies, python: str, django: str) -> Path:
    """Build an environment for all projects on one Python and Django. Kept until the requirements change."""
    projects = [
        bake(cookies, **answers, django_version=django)
        for answers in covering("server", "channel_layer", "consumers", "auth", "database", "examples")
    ]
    wanted = "".join(f"{line}\n" for line in sorted(set().union(*map(requirements, projects))))
    folder = BUILD / "environments" / f"python{python}-django{django}"
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        announce(f"Installing what projects need, for Python {python} and Django {django} ...")
        environ = clean_environ()
        run(["uv", "venv", "--quiet", "--clear", "--python", find_python(python), str(folder)], TEMPLATE, environ)
        (folder / "wanted.txt").write_text(wanted)
        install = ["uv", "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), "-r", "wanted.txt"]
        run(install, folder, environ)
        (folder / "wanted.txt").rename(stamp)
    return folder


def environ_for(environment: Path, **variables: str) -> dict[str, str]:
    """Return variables for a project's own commands in a shared environment, without a lock or the network."""
    return clean_environ(
        UV_PROJECT_ENVIRONMENT=str(environment),
        UV_PYTHON=str(environment / "bin" / "python"),
        UV_NO_SYNC="1",
        UV_OFFLINE="1",
        **variables,
    )


def production_values(project: Path) -> dict[str, str]:
    """Return the values of .env.example, with the changes that it requires in production."""
    lines = (project / ".env.example").read_text(encoding="utf-8").splitlines()
    lines = [re.sub(r":\w+@", f":{'p' * 16}@", line) for line in lines]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#")) | {
        "DEBUG": "false",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "chat.example.com",
        "ALLOWED_ORIGINS": "https://chat.example.com",
        "EMAIL_URL": "",
    }
