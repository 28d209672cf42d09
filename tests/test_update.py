"""Projects follow the template by cruft, and keep what their people wrote."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from support.answers import NASTY, generate, literal
from support.differences import content, secret_and_rest
from support.emitted import bake, clean_environ, environ_for, run
from support.matrix import CONTEXT, PYTHONS, TEMPLATE

EMITTED = "{{cookiecutter.project_slug}}"
# What a shallow clone has no older commit of: the template as it might have been, which lacks a file and a variant of
# another, has one that went, and other lines in four.
OLDER = {
    "realtime/topic.py": None,
    "LICENSE.MIT": None,
    "chat/went.py": ("", "GONE = True\n"),
    "chat/views.py": ('"""', '"""In other words: '),
    "static/site.css": ("", "/* Another first line. */\n"),
    "pyproject.toml": ("environs>=15.2,<16", "environs>=14,<15"),
    ".editorconfig": ("", "# Another first line.\n"),
}
BEHIND = 20  # commits, where the clone has so many


class Template:
    """A repository with the template, at first as it is in the working tree."""

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
        """The template as it is now."""
        for name in ("hooks", EMITTED):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            shutil.copytree(TEMPLATE / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(TEMPLATE / "cookiecutter.json", self.folder)

    def write_older(self) -> None:
        """The template as it might have been."""
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
        """The template as it was at a commit."""
        command = ["git", "archive", commit]
        archive = subprocess.run(command, cwd=TEMPLATE, env=self.environ, capture_output=True, check=True)
        subprocess.run(["tar", "-x"], cwd=self.folder, input=archive.stdout, check=True)

    def cruft(self, *arguments: str, folder: Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["cruft", *arguments], cwd=folder, env=self.environ, capture_output=True, encoding="utf-8", timeout=120
        )

    def create(self, answers: dict[str, str], *options: str) -> Path:
        """A project made by cruft, in a repository of its own as it came."""
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
        """Whether cruft takes the project for one of the newest template; fails when it says anything else."""
        done = self.cruft("check", folder=project)
        said = {0: "SUCCESS: ", 1: "FAILURE: Project's cruft is out of date!"}[done.returncode]
        assert done.stdout.startswith(said), done.stdout + done.stderr
        return done.returncode == 0

    def update(self, project: Path, *options: str) -> str:
        """Returns what is said."""
        done = self.cruft("update", "--skip-apply-ask", *options, folder=project)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def differences(self, project: Path) -> set[str]:
        """The files that differ from those of the template."""
        done = self.cruft("diff", folder=project)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return set(re.findall("^diff --git .* upstream-template-new/(.*)$", done.stdout, re.MULTILINE))


@pytest.fixture
def template(tmp_path):
    return Template(tmp_path)


def edit(project: Path) -> dict[str, str]:
    """What people do with a project; returns the texts that they see in its files."""
    (project / ".editorconfig").unlink()
    version = (project / "pyproject.toml").read_text(encoding="utf-8")
    (project / "pyproject.toml").write_text(version.replace('"0.1.0"', '"7.7.7"'), encoding="utf-8")
    ends = {
        "chat/views.py": "\n\ndef mine() -> int:\n    return 7\n",  # of which both wrote
        "static/site.css": "\n/* Mine. */\n",
        "chat/admin.py": "\n# Mine.\n",  # the update leaves it alone
        "tests/test_mine.py": "from chat.views import mine\n\n\ndef test_mine() -> None:\n    assert mine() == 7\n",
    }
    for name, text in ends.items():
        with (project / name).open("a", encoding="utf-8") as file:
            file.write(text)
    return {**ends, "pyproject.toml": '"7.7.7"'}


def check_nothing_is_left(template: Template, project: Path, secret: str) -> None:
    """No rejected hunk, no mark of a conflict, and the secret is where it was and nowhere else."""
    names = template.git("ls-files", "--cached", "--others", folder=project).splitlines()
    assert [name for name in names if name.endswith((".rej", ".orig"))] == []
    assert secret_and_rest(project)[0] == secret
    assert ".env" not in template.git("ls-files", folder=project).splitlines()
    template.commit(project)
    tracked = {name: (project / name).read_text("utf-8") for name in template.git("ls-files", folder=project).split()}
    assert [name for name, text in tracked.items() if "<<<<<<<" in text] == []
    assert ("SECRET_KEY" in tracked[".cruft.json"], secret in "".join(tracked.values())) == (False, False)
    assert secret not in template.git("log", "--patch", "--all", folder=project)


def older_commits() -> list[str]:
    """How an older template is come by: by undoing changes, and from the history where there is one."""
    command = ["git", "rev-list", "--max-count=1", f"--skip={BEHIND}", "HEAD"]
    done = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True)
    return ["", *done.stdout.split()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("older", older_commits(), ids=lambda commit: "history" if commit else "undone")
def test_update_keeps_what_people_wrote(older, template, environment):
    """The newest lines, files and removals come; edits, the removal of a file and the secret stay; the tests pass."""
    if older:
        template.check_out(older)
        options = ["--skip", ".env"]  # which projects did not say themselves then
    else:
        template.write_older()
        options = []
    template.commit()
    project = template.create({}, *options)
    assert (template.checks(project), template.differences(project)) == (True, set())
    secret, _ = secret_and_rest(project)
    texts = edit(project)
    template.commit(project)
    assert template.checks(project)

    template.write()
    newest = template.commit()
    assert not template.checks(project)
    template.update(project)
    assert template.checks(project)
    assert json.loads((project / ".cruft.json").read_text())["commit"] == newest
    check_nothing_is_left(template, project, secret)
    assert [name for name, text in texts.items() if text not in (project / name).read_text(encoding="utf-8")] == []
    assert template.differences(project) == texts.keys() - {"tests/test_mine.py"}
    assert not (project / ".editorconfig").exists()
    assert not (project / "chat" / "went.py").exists()

    output = run(["uv", "run", "pytest", "--no-cov"], project, environ_for(environment(PYTHONS[1], "6.1")), timeout=500)
    assert "tests/test_mine.py" in run(["git", "ls-files"], project, template.environ)
    assert " passed" in output


def test_conflict_is_shown(template):
    """Where both changed the same line, both are in the file between marks, and cruft says which file."""
    template.write_older()
    template.commit()
    project = template.create({})
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("environs>=14,<15", "environs>=14.5,<15"))
    template.commit(project)
    template.write()
    template.commit()
    done = template.cruft("update", "--skip-apply-ask", folder=project)
    assert "Applied patch to 'pyproject.toml' with conflicts." in done.stderr
    text = pyproject.read_text()
    assert text.index("<<<<<<<") < text.index("environs>=14.5,<15") < text.index("environs>=15.2,<16")


@pytest.mark.parametrize("turn", range(0, len(NASTY), 3))
def test_nasty_text_survives_updates(turn, template):
    """Three at a time, in the three places for free text; what cruft would run as a template is refused."""
    texts = list(NASTY.values())[turn : turn + 3]
    answers = dict(zip(("project_name", "description", "author_name"), texts * 3, strict=False))
    given = {"project_slug": "talking-site", **{key: literal(text) for key, text in answers.items()}}
    template.write_older()
    template.commit()
    braces = [key for key, text in answers.items() if re.search("{[{%#]", text)]
    if braces:
        done = template.cruft(
            "create", "--no-input", "--extra-context", json.dumps(given), str(template.folder), folder=template.folder
        )
        assert done.returncode == 1
        line = f"Error: {braces[0]} contains {{{{, which cruft would render as a template at each update: remove it."
        assert line in done.stderr.splitlines()
        assert not (template.folder / "talking-site").exists()
        answers |= dict.fromkeys(braces, "no braces")
    project = template.create({"project_slug": "talking-site", **answers})
    template.write()
    template.commit()
    template.update(project)
    check_nothing_is_left(template, project, secret_and_rest(project)[0])
    assert template.differences(project) == set()
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["description"] == answers["description"]
    assert metadata["authors"] == [{"name": answers["author_name"]}]
    assert (project / "README.md").read_text(encoding="utf-8").startswith(f"# {answers['project_name']}\n")


def test_new_question_gets_its_default_or_an_answer(template):
    """A newer template may have new questions and private variables; the old answers stay."""
    template.write()
    template.commit()
    project = template.create({"description": "Old answer."})
    context = {**CONTEXT, "greeting": "Hello", "_marks": {"Hello": "!", "Hi": "?"}}
    context["__prompts__"] = {**CONTEXT["__prompts__"], "greeting": "What does it say?"}
    (template.folder / "cookiecutter.json").write_text(json.dumps(context), encoding="utf-8")
    with (template.folder / EMITTED / "README.md").open("a", encoding="utf-8") as file:
        file.write("{{ cookiecutter.greeting }}{{ cookiecutter._marks[cookiecutter.greeting] }}\n")
    template.commit()
    # And nothing of the hooks, which run in folders that nobody sees.
    assert template.update(project) == "Good work! Project's cruft has been updated and is as clean as possible!\n"
    assert template.cruft("diff", folder=project).stdout == ""
    readme = project / "README.md"
    assert "\nOld answer.\n" in readme.read_text(encoding="utf-8")
    assert readme.read_text(encoding="utf-8").endswith("\nHello!\n")
    template.commit(project)
    template.update(project, "--variables-to-update", '{"greeting": "Hi"}')
    assert readme.read_text(encoding="utf-8").endswith("\nHi?\n")
    answers = json.loads((project / ".cruft.json").read_text(encoding="utf-8"))["context"]["cookiecutter"]
    assert (answers["greeting"], answers["description"]) == ("Hi", "Old answer.")


def test_project_of_plain_cookiecutter_is_linked(template, cookies):
    """`cruft link` with the same answers makes it one that can be updated."""
    template.write_older()
    older = template.commit()
    template.write()
    template.commit()
    template.git("checkout", "--quiet", older)
    done = cookies.bake(template=str(template.folder), extra_context={"server": "daphne"})
    project = template.keep(done.project_path)
    template.git("checkout", "--quiet", "-")
    given = ["--no-input", "--checkout", older, "--extra-context", '{"server": "daphne"}', str(template.folder)]
    assert template.cruft("link", *given, folder=project).returncode == 0
    template.commit(project)
    assert (template.checks(project), template.differences(project)) == (False, set())
    template.update(project)
    assert (template.checks(project), template.differences(project)) == (True, set())
    assert content(project).keys() - {".cruft.json"} >= content(bake(cookies, server="daphne")).keys()


@pytest.mark.parametrize(("ci", "name"), [("github", ".github/workflows/update.yml"), ("gitlab", ".gitlab-ci.yml")])
def test_weekly_check_says_that_the_template_changed(ci, name, template):
    """The command of the pipeline succeeds until then; it takes the cruft that is tested here."""
    template.write_older()
    template.commit()
    project = template.create({"ci": ci})
    text = (project / name).read_text(encoding="utf-8")
    (command,) = re.findall(r"(?:- |run: )(uvx .*)$", text[text.index(".cruft.json") :], re.MULTILINE)
    (requirement,) = re.findall('"(cruft.*)"', command)
    assert f'"{requirement}"' in (TEMPLATE / "pyproject.toml").read_text()

    def check():
        return subprocess.run(["sh", "-c", command], cwd=project, env=template.environ, capture_output=True, text=True)

    assert check().returncode == 0
    template.write()
    template.commit()
    done = check()
    assert (done.returncode, "Run `cruft update`" in done.stdout) == (1, True), done.stderr


@pytest.mark.quick
def test_without_hooks_alternatives_lie_side_by_side(tmp_path):
    """`--accept-hooks=no` leaves every file of the template under its own name, and writes no `.env`; that is all."""
    projects = {}
    for answer in ("yes", "no"):
        (tmp_path / answer).mkdir()
        assert generate(tmp_path / answer, "--accept-hooks", answer).returncode == 0
        projects[answer] = tmp_path / answer / "out" / "talking-site"
    assert [(project / ".env").exists() for project in projects.values()] == [True, False]
    without, source = content(projects["no"]), TEMPLATE / EMITTED
    assert without.keys() == content(source).keys()

    questions = ("server", "channel_layer", "consumers", "auth", "license")
    marks = {f".{choice}": choice == CONTEXT[key][0] for key in questions for choice in CONTEXT[key]}
    expected = {}
    for name, text in without.items():
        mark = next((mark for mark in marks if name.endswith(mark) or f"{mark}." in name), None)
        if not name.startswith(("deploy/kubernetes/", "deploy/postgresql.sh", ".gitlab-ci.yml")) and marks.get(
            mark, True
        ):
            expected[name.replace(mark, "", 1) if mark else name] = text
    assert content(projects["yes"]) == expected


@pytest.mark.quick
def test_history_reaches_the_older_template():
    """CI clones as many commits as the test that updates a project from an older one goes back."""
    workflow = yaml.safe_load((TEMPLATE / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["steps"][0]["with"]["fetch-depth"] == BEHIND + 1
