"""Repositories with the template, from which cruft makes and updates projects."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from support.emitted import clean_environ, run
from support.matrix import TEMPLATE

EMITTED = "{{cookiecutter.project_slug}}"
# A hypothetical older template, for shallow clones: without a file and a variant of another, with a file that is gone
# since, and with other lines in four.
OLDER = {
    "realtime/groups.py": None,
    "LICENSE.MIT": None,
    "chat/went.py": ("", "GONE = True\n"),
    "chat/views.py": ('"""', '"""In other words: '),
    "static/site.css": ("", "/* Another first line. */\n"),
    "pyproject.toml": ("environs>=15.2,<16", "environs>=14,<15"),
    ".editorconfig": ("", "# Another first line.\n"),
}


class Template:
    """A repository with the template, at first as in the working tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "template"
        config = folder / "cookiecutterrc"
        config.write_text(json.dumps({"cookiecutters_dir": f"{folder}/c", "replay_dir": f"{folder}/r"}))
        person = {"NAME": "Ann", "EMAIL": "ann@example.com"}
        self.environ = clean_environ(
            GIT_CONFIG_GLOBAL=os.devnull,
            GIT_CONFIG_SYSTEM=os.devnull,
            COOKIECUTTER_CONFIG=str(config),
            COLUMNS="1000",
            **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()},
        )
        self.folder.mkdir()
        self.git("init", "--quiet")

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        return run(["git", *arguments], folder or self.folder, self.environ)

    def commit(self, folder: Path | None = None) -> str:
        self.git("add", "--all", folder=folder)
        self.git("commit", "--quiet", "--message", "A commit", folder=folder)
        return self.git("rev-parse", "HEAD", folder=folder).strip()

    def write(self) -> None:
        """Write the current template."""
        for name in ("hooks", EMITTED):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            shutil.copytree(TEMPLATE / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(TEMPLATE / "cookiecutter.json", self.folder)

    def write_older(self) -> None:
        """Write the hypothetical older template."""
        self.write()
        for name, change in OLDER.items():
            path = self.folder / EMITTED / name
            if change is None:
                path.unlink()
            else:
                text = path.read_text(encoding="utf-8") if path.exists() else ""
                assert change[0] in text
                path.write_text(text.replace(*change, 1), encoding="utf-8")

    def check_out(self, commit: str) -> None:
        """Write the template of a commit."""
        command = ["git", "archive", commit]
        archive = subprocess.run(command, cwd=TEMPLATE, env=self.environ, capture_output=True, check=True)
        subprocess.run(["tar", "-x"], cwd=self.folder, input=archive.stdout, check=True)

    def cruft(self, *arguments: str, folder: Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["cruft", *arguments], cwd=folder, env=self.environ, capture_output=True, encoding="utf-8", timeout=120
        )

    def create(self, answers: dict[str, str], *options: str) -> Path:
        """Create a project with cruft, in a repository of its own."""
        folder = self.folder.parent
        given = ["--no-input", "--extra-context", json.dumps(answers), *options]
        done = self.cruft("create", *given, str(self.folder), folder=folder)
        assert done.returncode == 0, done.stderr
        return self.keep(folder / "talking-site")

    def keep(self, project: Path) -> Path:
        self.git("init", "--quiet", folder=project)
        self.commit(project)
        return project

    def checks(self, project: Path) -> bool:
        """Return whether cruft considers the project up to date. Fails on any other output."""
        done = self.cruft("check", folder=project)
        said = {0: "SUCCESS: ", 1: "FAILURE: Project's cruft is out of date!"}[done.returncode]
        assert done.stdout.startswith(said), done.stdout + done.stderr
        return done.returncode == 0

    def update(self, project: Path, *options: str) -> str:
        """Update the project. Return cruft's output."""
        done = self.cruft("update", "-y", *options, folder=project)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def differences(self, project: Path) -> set[str]:
        """Return the files that differ from those of the template."""
        done = self.cruft("diff", folder=project)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return set(re.findall("^diff --git .* upstream-template-new/(.*)$", done.stdout, re.MULTILINE))
