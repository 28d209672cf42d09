"""Preparation of a benchmark: packages, the compiled load client, emitted projects.

Everything is created in build/bench, and slow parts are kept there.
"""

import functools
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from support.emitted import BUILD, clean_environ, run
from support.matrix import CHOICES, TEMPLATE, covering, requirements

from demo import find_python

HERE = Path(__file__).resolve().parent
BENCH = BUILD / "bench"
PEERS = HERE / "peers"
NODE = BENCH / "node"
SHOWN = ("django", "channels", "channels-redis", *CHOICES["server"], "uvloop")
SHOWN_PEERS = ("fastapi", "python-socketio", "websockets")


def bake(label: str, **answers: str) -> Path:
    """Bake a new project with these answers, without its development settings."""
    folder = BENCH / "projects" / label
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", "--output-dir", str(folder)]
    context = [f"{key}={answer}" for key, answer in answers.items()]
    run([*command, str(TEMPLATE), "project_slug=benched", *context], TEMPLATE, clean_environ())
    (folder / "benched" / ".env").unlink()
    return folder / "benched"


@functools.cache
def environment() -> Path:
    """Return the Python of one environment for all projects and peers. Kept until the requirements change."""
    projects = [
        bake(f"requirements-{number}", **answers)
        for number, answers in enumerate(covering("server", "channel_layer", "database", "examples"))
    ]
    ours = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = set(ours["dependency-groups"]["bench"]).union(*map(requirements, projects))
    content = "".join(f"{line}\n" for line in sorted(wanted))
    folder = BENCH / "venv"
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != content:
        print("Setting up build/bench/venv ...", flush=True)
        run(
            ["uv", "venv", "--quiet", "--clear", "--python", find_python("3.13"), str(folder)],
            TEMPLATE,
            clean_environ(),
        )
        (folder / "wanted.txt").write_text(content)
        install = ["uv", "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), "-r", "wanted.txt"]
        run(install, folder, clean_environ())
        (folder / "wanted.txt").rename(stamp)
    return folder / "bin" / "python"


@functools.cache
def node() -> str | None:
    """Return Node, with the peers' packages in build/bench/node. Print a line and return None without Node."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if not program or not npm:
        print("Node's peers are left out: put `node` and `npm` on the PATH (`apt-get install nodejs npm`).", flush=True)
        return None
    wanted = (PEERS / "package.json").read_text(encoding="utf-8")
    stamp = NODE / "package.json"
    if not (NODE / "complete").exists() or stamp.read_text() != wanted:
        print("Setting up build/bench/node ...", flush=True)
        shutil.rmtree(NODE, ignore_errors=True)
        NODE.mkdir(parents=True)
        stamp.write_text(wanted)
        install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        run(install, NODE, clean_environ())
        (NODE / "complete").touch()
    return program


@functools.cache
def load_client() -> Path:
    """Compile the load client."""
    compiler = shutil.which("cc")
    if not compiler:
        sys.exit("The load client needs a C compiler (cc). Install one: apt-get install build-essential")
    program = BENCH / "load"
    BENCH.mkdir(parents=True, exist_ok=True)
    run(
        [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(HERE / "load.c")],
        HERE,
        clean_environ(),
    )
    return program


def versions() -> str:
    """Return the versions of the measured programs as one line."""
    command = ["uv", "pip", "list", "--format", "json", "--python", str(environment())]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    installed = {package["name"].lower(): package["version"] for package in listed}
    parts = [f"{name} {installed[name]}" for name in (*SHOWN, *SHOWN_PEERS)]
    if program := node():
        parts.append(f"node {subprocess.run([program, '--version'], capture_output=True, text=True).stdout.strip()}")
        for name in json.loads((PEERS / "package.json").read_text(encoding="utf-8"))["dependencies"]:
            package = NODE / "node_modules" / name / "package.json"
            parts.append(f"{name} {json.loads(package.read_text(encoding='utf-8'))['version']}")
    return ", ".join(parts)
