"""Projects follow the template with cruft, and keep their edits."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from support.answers import NASTY, generate, literal
from support.differences import DIFFERENCES, content, difference, secret_and_rest
from support.emitted import FAST, bake, environ_for, run
from support.matrix import CONTEXT, PYTHONS, TEMPLATE
from support.template import EMITTED, Template

BEHIND = 20  # commits, if the clone has as many
# Older commits have another engine, and an update from them is not supported.
FIRST_FILE = f"{EMITTED}/realtime/servers/__init__.py"


def edit(project: Path) -> dict[str, str]:
    """Edit a project as users do. Return the texts that they expect in its files."""
    (project / ".editorconfig").unlink()
    version = (project / "pyproject.toml").read_text(encoding="utf-8")
    (project / "pyproject.toml").write_text(version.replace('"0.1.0"', '"7.7.7"'), encoding="utf-8")
    ends = {
        "chat/views.py": "\n\ndef mine() -> int:\n    return 7\n",  # changed in both
        "static/site.css": "\n/* Mine. */\n",
        "chat/admin.py": "\n# Mine.\n",  # the update does not touch it
        "tests/test_mine.py": "from chat.views import mine\n\n\ndef test_mine() -> None:\n    assert mine() == 7\n",
    }
    for name, text in ends.items():
        with (project / name).open("a", encoding="utf-8") as file:
            file.write(text)
    return {**ends, "pyproject.toml": '"7.7.7"'}


def check_nothing_is_left(template: Template, project: Path, secret: str) -> None:
    """Check that no rejected hunk or conflict mark is left, and that the secret is only where it was."""
    names = template.git("ls-files", "--cached", "--others", folder=project).splitlines()
    assert [name for name in names if name.endswith((".rej", ".orig"))] == []
    assert secret_and_rest(project)[0] == secret
    assert ".env" not in template.git("ls-files", folder=project).splitlines()
    template.commit(project)
    tracked = {name: (project / name).read_bytes() for name in template.git("ls-files", folder=project).split()}
    assert [name for name, data in tracked.items() if b"<<<<<<<" in data] == []
    assert (b"SECRET_KEY" in tracked[".cruft.json"], secret.encode() in b"".join(tracked.values())) == (False, False)
    assert secret not in template.git("log", "--patch", "--all", folder=project)


def older_commits() -> list[str]:
    """Return the ways to an older template: undoing changes, and a commit of the history if there is one."""
    command = ["git", "rev-list", "--max-count=1", f"--skip={BEHIND}", "HEAD"]
    commits = subprocess.run(command, cwd=TEMPLATE, capture_output=True, text=True).stdout.split()
    has_file = [["git", "cat-file", "-e", f"{commit}:{FIRST_FILE}"] for commit in commits]
    supported = all(subprocess.run(ask, cwd=TEMPLATE, capture_output=True).returncode == 0 for ask in has_file)
    return ["", *(commits if supported else [])]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("older", older_commits(), ids=lambda commit: "history" if commit else "undone")
def test_update_keeps_edits(older, template, environment):
    """An update brings new lines, files and removals, keeps edits and the secret, and the tests pass."""
    if older:
        template.check_out(older)
        options = ["--skip", ".env"]  # not a setting of projects at that commit
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

    environ = environ_for(environment(PYTHONS[1], "6.1"), **FAST)
    output = run(["uv", "run", "pytest"], project, environ, timeout=500)
    assert "tests/test_mine.py" in run(["git", "ls-files"], project, template.environ)
    assert " passed" in output


def test_git_alone_follows_the_template(template, cookies):
    """The page's commands merge a newer template and another answer, and mark what both sides changed."""
    view = template.folder / EMITTED / "dashboard" / "views.py"
    template.write_older()
    view.write_text("# Older.\n" + view.read_text(encoding="utf-8"), encoding="utf-8")
    older = template.commit()
    project = template.keep(cookies.bake(template=str(template.folder), extra_context={"examples": "all"}).project_path)
    assert f"\ncommit: {older}\n" in (project / ".cookiecutter.yaml").read_text(encoding="utf-8")
    env, texts = (project / ".env").read_bytes(), edit(project)
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("environs>=14,<15", "environs>=14.5,<15"))
    shutil.rmtree(project / "dashboard")
    template.commit(project)
    template.write()
    newest = template.commit()

    block = (project / "docs" / "change-an-answer.md").read_text(encoding="utf-8")
    block = block.partition("\n## Without cruft\n")[2].partition("```sh\n")[2].partition("```")[0]
    block = block.replace("https://github.com/org/channels-template", f"file://{template.folder}").replace("uvx ", "")

    def follow(answers: str) -> str:
        """Run the block with these answers. Return the files with conflicts, as git lists them."""
        environ = {**template.environ, "HOME": str(template.folder.parent), "TMPDIR": str(template.folder.parent)}
        commands = ["sh", "-c", block.replace("ci=gitlab", answers)]
        subprocess.run(commands, cwd=project, env=environ, capture_output=True, timeout=120)
        return template.git("diff", "--name-status", "--diff-filter=U", folder=project)

    assert follow("ci=gitlab") == "U\t.editorconfig\nU\tdashboard/views.py\nU\tpyproject.toml\n"
    text = pyproject.read_text()
    assert text.index("<<<<<<<") < text.index("environs>=14.5,<15") < text.index("environs>=15.2,<16")
    pyproject.write_text(re.sub("<<<<<<<.*?=======\n(.*?)>>>>>>>.*?\n", r"\1", text, flags=re.DOTALL))
    template.git("rm", "--quiet", ".editorconfig", "dashboard/views.py", folder=project)
    template.git("add", "pyproject.toml", folder=project)
    template.git("-c", "core.editor=true", "cherry-pick", "--continue", folder=project)

    for answers, ci in (("", "gitlab"), ("ci=github server=daphne", "github")):
        assert follow(answers) == ""
        assert template.git("status", "--porcelain", folder=project) == ""
        expected = bake(cookies, examples="all", ci=ci, server="daphne" if ci == "github" else "uvicorn")
        changed = {name for name in difference(content(expected), content(project)) if not name.startswith("+.git/")}
        gone = {f"-{name}" for name in content(expected) if name == ".editorconfig" or name.startswith("dashboard/")}
        assert changed == texts.keys() - {"tests/test_mine.py"} | gone | {"+tests/test_mine.py"}
        assert [name for name, mine in texts.items() if mine not in (project / name).read_text(encoding="utf-8")] == []
        assert f"\ncommit: {newest}\n" in (project / ".cookiecutter.yaml").read_text(encoding="utf-8")
    assert "\n+SERVER=daphne\n" in template.git("show", "HEAD", ".env.example", folder=project)
    assert (project / ".env").read_bytes() == env


def test_conflict_is_shown(template):
    """If both sides changed a line, the file has both between marks, and cruft names the file."""
    template.write_older()
    template.commit()
    project = template.create({})
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("environs>=14,<15", "environs>=14.5,<15"))
    template.commit(project)
    template.write()
    template.commit()
    done = template.cruft("update", "-y", folder=project)
    assert "Applied patch to 'pyproject.toml' with conflicts." in done.stderr
    text = pyproject.read_text()
    assert text.index("<<<<<<<") < text.index("environs>=14.5,<15") < text.index("environs>=15.2,<16")


@pytest.mark.parametrize("turn", range(0, len(NASTY), 3))
def test_nasty_text_survives_updates(turn, template):
    """Hostile texts in the three fields for free text survive an update. Texts that cruft would render are refused."""
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
    """A newer template may have new questions and private variables, and the old answers stay."""
    template.write()
    template.commit()
    project = template.create({"description": "Old answer."})
    context = {**CONTEXT, "greeting": "Hello", "_marks": {"Hello": "!", "Hi": "?"}}
    context["__prompts__"] = {**CONTEXT["__prompts__"], "greeting": "Which greeting?"}
    (template.folder / "cookiecutter.json").write_text(json.dumps(context), encoding="utf-8")
    with (template.folder / EMITTED / "README.md").open("a", encoding="utf-8") as file:
        file.write("{{ cookiecutter.greeting }}{{ cookiecutter._marks[cookiecutter.greeting] }}\n")
    template.commit()
    # The hooks print nothing, because they run in temporary folders.
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
    """The page's command makes a project of plain cookiecutter updatable, with its answers and commit."""
    template.write_older()
    older = template.commit()
    template.write()
    template.commit()
    template.git("checkout", "--quiet", older)
    done = cookies.bake(template=str(template.folder), extra_context={"server": "daphne"})
    project = template.keep(done.project_path)
    template.git("checkout", "--quiet", "-")
    page = (project / "docs" / "change-an-answer.md").read_text(encoding="utf-8")
    (link,) = re.findall('^uvx "cruft.*" (link .*) https://github.com/org/channels-template$', page, re.MULTILINE)
    command = ["sh", "-c", f"cruft {link} {template.folder}"]
    done = subprocess.run(command, cwd=project, env=template.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((project / ".cruft.json").read_text(encoding="utf-8"))["commit"] == older
    template.commit(project)
    assert (template.checks(project), template.differences(project)) == (False, set())
    template.update(project)
    assert (template.checks(project), template.differences(project)) == (True, set())
    assert content(project).keys() - {".cruft.json"} >= content(bake(cookies, server="daphne")).keys()


@pytest.mark.parametrize(("ci", "name"), [("github", ".github/workflows/update.yml"), ("gitlab", ".gitlab-ci.yml")])
def test_weekly_check_fails_on_a_changed_template(ci, name, template):
    """The pipeline's command fails once the template changes. It uses the cruft version that is tested here."""
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
    """`--accept-hooks=no` leaves every file of the template under its own name, and writes no `.env`."""
    projects = {}
    for answer in ("yes", "no"):
        (tmp_path / answer).mkdir()
        assert generate(tmp_path / answer, "--accept-hooks", answer).returncode == 0
        projects[answer] = tmp_path / answer / "out" / "talking-site"
    assert [(project / ".env").exists() for project in projects.values()] == [True, False]
    without, source = content(projects["no"]), TEMPLATE / EMITTED
    assert without.keys() == content(source).keys()

    questions = ("server", "channel_layer", "consumers", "auth", "examples", "license")
    marks = {f".{choice}": choice == CONTEXT[key][0] for key in questions for choice in CONTEXT[key]}
    of_other_answers = {name[1:] for names in DIFFERENCES.values() for name in names if name.startswith("+")}
    of_other_answers |= {f"deploy/kubernetes/{name}.yaml" for name in ("devices", "notifications", "worker")}
    expected = {}
    for name, text in without.items():
        mark = next((mark for mark in marks if name.endswith(mark) or f"{mark}." in name), None)
        emitted = name.replace(mark, "", 1) if mark else name
        if emitted not in of_other_answers and marks.get(mark, True):
            expected[emitted] = text
    assert content(projects["yes"]) == expected


@pytest.mark.quick
def test_history_reaches_the_older_template():
    """CI clones as many commits as the update test goes back."""
    workflow = yaml.safe_load((TEMPLATE / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["steps"][0]["with"]["fetch-depth"] == BEHIND + 1
