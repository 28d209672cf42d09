"""Unusual answers make working projects. Impossible ones are refused before any file is written."""

import html
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.answers import NASTY, generate, literal
from support.differences import content
from support.emitted import bake, clean_environ, environ_for, run
from support.matrix import CHOICES, PYTHONS, TEMPLATE, covering, requirements


def bake_nasty(cookies, text: str, **answers: str) -> Path:
    """Bake a project with a text in every field for free text."""
    given = {key: literal(text) for key in ("project_name", "description", "author_name")}
    result = cookies.bake(extra_context={**given, **answers})
    assert result.exception is None, repr(result.exception)
    assert {key: result.context[key] for key in given} == dict.fromkeys(given, text)
    return result.project_path


@pytest.mark.parametrize("name", NASTY)
def test_nasty_text_works_everywhere(name, cookies, environment):
    """A hostile text is unchanged in TOML, licence and page, and the project passes ruff and Django's checks."""
    text = NASTY[name]
    answers = {"auth": "none", "channel_layer": "redis", "database": "postgresql", "django_version": "6.1"}
    project = bake_nasty(cookies, text, **answers)
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (metadata["description"], metadata["authors"]) == (text, [{"name": text}])
    assert f"Copyright (c) {text}\n" in (project / "LICENSE").read_text(encoding="utf-8")
    assert (project / "README.md").read_text(encoding="utf-8").startswith(f"# {text}\n")

    shared = environment(PYTHONS[0], "6.1")
    environ = environ_for(shared)
    run(["uv", "run", "ruff", "check", "--no-cache"], project, environ)
    run(["uv", "run", "ruff", "format", "--check", "--no-cache"], project, environ)
    render = (
        "import django; django.setup(); from django.core.management import call_command; call_command('check');"
        "from django.template.loader import render_to_string; print(render_to_string('site_name.html'))"
    )
    command = ["uv", "run", "python", "-c", render]
    variables = {"DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONIOENCODING": "utf-8"}
    output = run(command, project, environ | variables)
    name_on_page = output.removeprefix("System check identified no issues (0 silenced).\n").removesuffix("\n\n")
    assert html.unescape(name_on_page) == text
    assert not re.search("[<>\"']", name_on_page)
    assert run(["make", "--dry-run", "lint"], project, environ).startswith("uv run ruff check\n")


def test_typed_braces_are_only_text(tmp_path):
    """A name typed at the prompt is not rendered, so braces stay as they are, also when it is baked again."""
    answers = ["{{ cookiecutter._template }}", "my_site", NASTY["emoji"], NASTY["yaml"], "", *[""] * len(CHOICES)]
    done = generate(tmp_path, typed="\n".join([*answers, ""]))
    assert done.returncode == 0, done.stderr
    readme = (tmp_path / "out" / "my_site" / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# {{ cookiecutter._template }}\n")
    (tmp_path / "again").mkdir()
    kept = tmp_path / "out" / "my_site" / ".cookiecutter.yaml"
    done = generate(tmp_path / "again", "--config-file", str(kept))
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "again" / "out" / "my_site") == content(tmp_path / "out" / "my_site")


REFUSED = {
    "no name": ("project_name=", "project_name is empty"),
    "a blank name": ("project_name=   ", "project_name is empty"),
    "no author": ("author_name=", "author_name is empty"),
    "a line break": ("project_name=a\nb", "project_name contains a line break or another control character"),
    "a carriage return": ("description=a\rb", "description contains a line break or another control character"),
    "a tab": ("author_name=a\tb", "author_name contains a line break or another control character"),
    "an escape": ("project_name=\x1b[31mred", "project_name contains a line break or another control character"),
    "a line separator": ("description=a\u2028b", "description contains a line break or another control character"),
    "a paragraph separator": ("description=a\u2029b", "description contains a line break or another control character"),
    "a line break in the address": ("author_email=a@b.example\n", "author_email contains a line break"),
    "a lone surrogate": (
        "project_name={{ '\\ud800' }}",
        "project_name contains a line break or another control character",
    ),
    "a long name": (f"project_name={'x' * 201}", "project_name has 201 characters: use at most 200."),
    "a long description": (f"description={'x' * 201}", "description has 201 characters: use at most 200."),
    "no address": ("author_email=ann", "author_email is not an e-mail address"),
    "an address in brackets": ("author_email=Ann <ann@example.com>", "author_email is not an e-mail address"),
    "the name of a package": ("project_name=Django", "project_slug 'django' is the name of a package"),
    "another spelling of one": (
        "project_slug=channels_redis",
        "project_slug 'channels_redis' is the name of a package",
    ),
}
CORRECTED = {
    "capitals": ("project_slug=Site", "site", "project_slug=site"),
    "a space": ("project_slug=my site", "my-site", "project_slug=my-site"),
    "dashes at the ends": ("project_slug=-_site-", "site", "project_slug=site"),
    "an umlaut": ("project_slug=größe", "grosse", "project_slug=grosse"),
    "a trailing line break": ("project_slug=site\n", "site", "project_slug=site"),
    "a path": ("project_slug=a/b", "a-b", "project_slug=a-b"),
    "a path upwards": ("project_slug=../site", "site", "project_slug=site"),
    "signs alone": ("project_slug=..", "talking-site", "project_slug=talking-site"),
    "a long slug": (f"project_slug={'x' * 64}", "x" * 63, f"project_slug={'x' * 63}"),
    "a cluster": ("deploy=kubernetes", "talking-site", "channel_layer=redis, database=postgresql"),
}


@pytest.mark.parametrize("case", CORRECTED)
def test_answer_is_corrected(case, tmp_path):
    """An answer with one sensible meaning is changed to it, and the closing message names the change."""
    answer, folder, corrections = CORRECTED[case]
    done = generate(tmp_path, answer)
    assert (done.returncode, done.stdout.splitlines()[:2]) == (0, ["", f"Corrected answers: {corrections}."]), (
        done.stderr
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == [folder]
    env = (tmp_path / "out" / folder / ".env").read_text(encoding="utf-8")
    assert [f"\n{name}=" in env for name in ("REDIS_URL", "POSTGRES_PASSWORD")] == [case == "a cluster"] * 2


def test_valid_answers_stay(tmp_path):
    """Nothing is reported as corrected if nothing was."""
    done = generate(
        tmp_path, "project_slug=my_site-2", "deploy=kubernetes", "channel_layer=redis", "database=postgresql"
    )
    assert (done.returncode, "Corrected" in done.stdout, (tmp_path / "out" / "my_site-2").exists()) == (0, False, True)


def test_refused_answers_are_not_lost(tmp_path):
    """The error has a command with all answers, which works after the wrong one is corrected."""
    typed = ["Ann's Site", "", "", "", "ann", *["2"] * len(CHOICES), ""]
    done = generate(tmp_path, typed="\n".join(typed))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("uvx cookiecutter ")]
    words = shlex.split(line)
    assert words[:4] == ["uvx", "cookiecutter", "--no-input", str(TEMPLATE)]
    answers = [word.replace("author_email=ann", "author_email=ann@example.com") for word in words[4:]]
    assert generate(tmp_path, *answers).returncode == 0
    assert (tmp_path / "out" / "ann-s-site" / "README.md").read_text(encoding="utf-8").startswith("# Ann's Site\n")


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_answer_is_refused(case, tmp_path):
    """An impossible answer makes one line that names the answer and the fix, and no file is written."""
    answer, complaint = REFUSED[case]
    done = generate(tmp_path, answer)
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    assert lines[0].startswith(f"Error: {complaint}")
    assert re.search(r": use ", lines[0])
    assert list((tmp_path / "out").iterdir()) == []


def test_names_of_requirements_are_refused(cookies):
    """The hook lists every package that any project requires."""
    hook = (TEMPLATE / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    taken = set(re.search(r'TAKEN = """(.*?)"""', hook, re.DOTALL)[1].split())
    projects = [
        bake(cookies, **answers) for answers in covering("server", "channel_layer", "auth", "database", "examples")
    ]
    names = {re.match("[a-z0-9-]+", line)[0] for line in set().union(*map(requirements, projects))}
    assert names - taken == set()


@pytest.mark.parametrize("question", CHOICES)
def test_unknown_choice_is_refused(question, tmp_path):
    """Cookiecutter refuses an unknown choice, names the value and the choices, and writes no file."""
    done = generate(tmp_path, f"{question}=nonsense")
    *_, last = done.stderr.splitlines()
    assert (
        last
        == f"ValueError: nonsense provided for choice variable {question}, but the choices are {CHOICES[question]}."
    )
    assert (done.returncode, list((tmp_path / "out").iterdir())) == (1, [])


@pytest.mark.parametrize("question", CHOICES)
def test_choice_of_a_replay_file_is_refused(question, tmp_path):
    """The hook refuses a choice of a replay file that the template no longer offers."""
    assert generate(tmp_path).returncode == 0
    (replay,) = (tmp_path / "replay").iterdir()
    content = json.loads(replay.read_text())
    content["cookiecutter"][question] = "nonsense"
    content["cookiecutter"]["project_slug"] = "again"
    replay.write_text(json.dumps(content))
    program = [sys.executable, "-m", "cookiecutter", "--config-file", str(tmp_path / "config.yaml")]
    done = subprocess.run(
        [*program, "--output-dir", str(tmp_path / "out"), "--replay-file", str(replay), str(TEMPLATE)],
        env=clean_environ(),
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    choices = ", ".join(sorted(CHOICES[question]))
    assert lines == [f"Error: {question} 'nonsense' is not a choice: use one of {choices}."], done.stderr
    assert not (tmp_path / "out" / "again").exists()


def test_old_cookiecutter_is_refused(tmp_path):
    """Cookiecutter 1.7, which Debian has, names the version that is needed, and writes no file."""
    old = ["uv", "run", "--no-project", "--with", "cookiecutter==1.7.3", "cookiecutter"]
    done = subprocess.run(
        [*old, "--no-input", "--default-config", "--output-dir", str(tmp_path), str(TEMPLATE)],
        env=clean_environ(UV_PYTHON=sys.executable),
        capture_output=True,
        text=True,
    )
    complaint = "Error: cookiecutter is older than 2.1: use a newer one, such as by uvx cookiecutter."
    assert [line for line in done.stderr.splitlines() if line.startswith("Error: ")] == [complaint], done.stderr
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])


def test_existing_target_is_refused(tmp_path):
    """Cookiecutter reports an existing folder and does not change it."""
    target = tmp_path / "out" / "talking-site"
    target.mkdir(parents=True)
    (target / "mine").write_text("precious")
    done = generate(tmp_path)
    assert (done.returncode, done.stdout) == (1, f'Error: "{target}" directory already exists\n')
    assert {path.name: path.read_text() for path in target.iterdir()} == {"mine": "precious"}


def test_overwriting_keeps_the_secret(tmp_path):
    """`-f` replaces the files, but not the development settings with their secret."""
    assert generate(tmp_path).returncode == 0
    project = tmp_path / "out" / "talking-site"
    env = (project / ".env").read_bytes()
    (project / "manage.py").write_text("changed")
    done = generate(tmp_path, "-f")
    assert done.returncode == 0, done.stderr
    assert (project / ".env").read_bytes() == env
    assert (project / "manage.py").read_text().startswith("#!/usr/bin/env python\n")


def test_overwriting_keeps_hidden_folders(tmp_path):
    """`-f` renames nothing in an environment, and leaves a repository of git as it is."""
    assert generate(tmp_path).returncode == 0
    project = tmp_path / "out" / "talking-site"
    subprocess.run(["git", "init", "--quiet", project], check=True)
    module = project / ".venv" / "lib" / "redis.async.py"
    module.parent.mkdir(parents=True)
    module.write_text("precious")
    assert generate(tmp_path, "-f").returncode == 0
    assert module.read_text() == "precious"
    subprocess.run(["git", "-C", project, "add", "--all"], check=True)


def test_file_in_the_way_is_refused(tmp_path):
    """If the target's parent is a file, the last line reports it, and no file is written."""
    (tmp_path / "out").write_text("a file")
    done = generate(tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"OSError: Unable to create directory at {tmp_path / 'out' / 'talking-site'}",
    )


def test_read_only_target_is_refused(tmp_path):
    """If the target is read-only, the last line reports it, and no file is written."""
    account = []
    if os.geteuid() == 0:  # root may write everywhere, so another user tries
        nobody = pwd.getpwnam("nobody")
        account = [str(nobody.pw_gid), str(nobody.pw_uid)]
    done = generate_as(account, tmp_path)
    assert "PermissionError: [Errno 13] Permission denied" in done.stderr, done.stderr
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"OSError: Unable to create directory at {tmp_path / 'out' / 'talking-site'}",
    )
    assert list((tmp_path / "out").iterdir()) == []


def generate_as(account: list[str], folder: Path) -> subprocess.CompletedProcess:
    """Generate into a read-only folder with a copy of the template, as another account (group and user id) or ours."""
    (folder / "out").mkdir()
    (folder / "out").chmod(0o555)
    script = (
        "import os, sys\n"
        "import cookiecutter.main as main\n"
        "generate_files = main.generate_files\n"
        "def generate_as_nobody(**options):\n"
        "    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))\n"
        "    return generate_files(**options)\n"
        "if sys.argv[2:]:\n"
        "    main.generate_files = generate_as_nobody\n"
        "folder = sys.argv[1]\n"
        "main.cookiecutter(f'{folder}/template', no_input=True, output_dir=f'{folder}/out',"
        " config_file=f'{folder}/config.yaml')\n"
    )
    for path in [folder, *folder.parents]:
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    copy = folder / "template"
    copy.mkdir()
    for name in ("cookiecutter.json", "hooks", "{{cookiecutter.project_slug}}"):
        source = TEMPLATE / name
        shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
    places = {"cookiecutters_dir": str(folder / "cookiecutters"), "replay_dir": str(folder / "replay")}
    (folder / "config.yaml").write_text(json.dumps(places))
    command = [sys.executable, "-c", script, str(folder), *account]
    return subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)
