"""One project per server, installed from nothing by the commands of its own README."""

import re
from pathlib import Path

import pytest
from support.client import Person, receive, say
from support.emitted import bake, clean_environ, run
from support.matrix import covering, label
from support.pages import commands as shell_commands
from support.servers import start_site, wait_until

from demo import find_python

INSTALLATIONS = covering("server", "channel_layer", "database", "auth")


def commands(project: Path) -> list[list[str]]:
    """Return the make commands of the README, in order."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (project / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    lines = [line.partition("#")[0].split() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line[:1] == ["make"]]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("answers", INSTALLATIONS, ids=label)
def test_installation_by_the_readme_works(answers, cookies, services):
    """Set-up, linters, tests and development server work with the project's packages only. An edit reloads it."""
    project = bake(cookies, **answers)
    # Name the interpreter to uv, which cannot find or download it on some machines.
    environ = clean_environ(UV_PYTHON=find_python("3.13"), **services(answers))
    said = commands(project)
    setup, dev, test = ["make", "setup"], ["make", "dev"], ["make", "test"]
    assert [command for command in said if command in (setup, dev, test)] == [setup, dev, test]

    run(setup, project, environ)
    version = run(["uv", "run", "python", "-c", "import sys; print(sys.version_info[:2])"], project, environ)
    assert version.splitlines()[-1] == "(3, 13)"
    assert "Success: no issues found" in run(["make", "lint"], project, environ)
    assert " passed" in run(test, project, environ, timeout=500)
    with start_site(dev, project, environ) as site:
        ann, ben = Person(site, answers["auth"]), Person(site, answers["auth"])
        with ann.connect("dev") as one, ben.connect("dev") as other:
            assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
            message = say(one, "a", "hello")
            assert receive(other) == message
        check_reload(project, ann)


@pytest.mark.timeout(600)
def test_pip_is_enough(cookies, tmp_path):
    """Without uv, the commands of the page install and serve the site. Its linters and tests run, too."""
    project = bake(cookies)
    page = (project / "docs" / "without-uv-or-make.md").read_text(encoding="utf-8")
    *install, serve = shell_commands(page.partition("## Without make")[0])
    (tmp_path / "python3").symlink_to(find_python("3.13"))
    environ = clean_environ()
    environ |= {"PATH": f"{tmp_path}:{environ['PATH']}", "PIP_QUIET": "1"}
    (project / ".env").unlink()
    run(["sh", "-ec", "\n".join(install)], project, environ)
    activate = next(command for command in install if "activate" in command)
    with (
        start_site(["sh", "-ec", f"{activate}\nexec {serve} --noreload"], project, environ) as site,
        Person(site, "session").connect("pip") as socket,
    ):
        assert receive(socket)["type"] == "welcome"
    for command in ("ruff check", "mypy .", "pytest tests"):
        run(["sh", "-ec", f"{activate}\n{command}"], project, environ)


def check_reload(project: Path, person: Person) -> None:
    """Check that an edited template and edited Python are served without a manual restart."""

    def page():
        try:
            return person.http.get("/").text
        except Exception:  # between two starts
            return ""

    assert "edited template" not in page()
    base = project / "templates" / "base.html"
    base.write_text(base.read_text().replace("</main>", "edited template</main>"))
    wait_until(lambda: "edited template" in page(), "the edited template")

    views = project / "chat" / "views.py"
    source = views.read_text()
    assert '"error": error' in source
    views.write_text(source.replace('"error": error', '"error": "edited view"'))
    wait_until(lambda: "edited view" in page(), "the edited view")
