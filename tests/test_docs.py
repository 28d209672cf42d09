"""Emitted pages are right: links resolve, commands, files and functions exist, patches apply."""

import re
import subprocess

import pytest
from support.emitted import bake, clean_environ, run
from support.matrix import combinations, is_possible, label, spread
from support.pages import (
    DELETE,
    JWTS,
    LANGUAGE,
    MODEL,
    MOUNTS,
    OTHER_CODE,
    TESTS,
    anchors,
    commands,
    links,
    prose,
    recipes,
)

# Every combination of the answers that pages depend on. The others take turns.
POSSIBLE = filter(is_possible, combinations("auth", "channel_layer", "database", "deploy"))
COMBINATIONS = spread(POSSIBLE, "consumers", "server", examples=["chat", "all"])
# Words that a page may use only if the choice was made.
WORDS = {
    ("channel_layer", "redis"): r"redis",
    ("database", "postgresql"): r"postgres",
    ("deploy", "docker"): r"docker|nginx",
    ("deploy", "kubernetes"): r"kube|cluster",
    ("auth", "token"): r"(?<!simplejwt\.)(?<!refresh )\btokens?\b|ticket",
    ("consumers", "async"): r"apublish|\bawait self|async consumer",
    ("consumers", "sync"): r"async_to_sync",
}
QUOTED = re.compile(r"`([^`\n]+)`")


def parameters():
    for answers in COMBINATIONS:
        marks = [pytest.mark.quick] if answers["deploy"] == "kubernetes" else []
        yield pytest.param(answers, id=label(answers), marks=marks)


@pytest.fixture(params=list(parameters()), scope="module")
def emitted(request, cookies_session):
    """Return the answers and the project."""
    return request.param, bake(cookies_session, **request.param)


def pages(project):
    return {path: path.read_text(encoding="utf-8") for path in sorted(project.rglob("*.md"))}


def quoted_paths(text):
    """Return the quoted names in a page's prose that look like files or folders."""
    names = [name for name in QUOTED.findall(prose(text)) if re.fullmatch(r"[\w./-]+", name)]
    return {name for name in names if re.search(r"^[^/].*/|\.(py|js|md|toml|yaml)$", name)}


def test_readme_is_short(emitted):
    """README.md has at most 60 lines, and AGENTS.md at most 80."""
    _, project = emitted
    assert len((project / "README.md").read_text(encoding="utf-8").splitlines()) <= 60
    assert len((project / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 80


def test_blocks_stand_alone(emitted):
    """An empty line comes before and after each block of code."""
    _, project = emitted
    for path, text in pages(project).items():
        for block in re.finditer(r"^```\w+\n.*?^```$", text, re.M | re.S):
            around = text[: block.start()][-2:], text[block.end() :][:2]
            assert around[0] == "\n\n" and around[1] in ("\n\n", "\n"), f"{path}: {block[0]}"


def test_links_lead_somewhere(emitted):
    """Each link to a file or heading of the project resolves, and README.md leads to every page."""
    _, project = emitted
    seen, new = set(), {project / "README.md"}
    while new:
        page = new.pop()
        seen.add(page)
        for path, anchor in links(page):
            assert path.is_file(), f"{page}: {path}"
            if anchor:
                assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page}: {path}#{anchor}"
            if path.suffix == ".md" and path not in seen:
                new.add(path)
    assert seen == set(pages(project))


def test_pages_know_what_was_chosen_only(emitted):
    """No page mentions a choice that was not made."""
    answers, project = emitted
    chosen = set(answers.items()) | ({("deploy", "docker")} if answers["deploy"] == "kubernetes" else set())
    for path, text in pages(project).items():
        # Packages have a style of their own, and platforms need services that were not chosen.
        of_others = {"change-an-answer.md", f"{OTHER_CODE}.md", "platforms.md"}
        of_this_project = project / "docs" in path.parents and path.name not in of_others
        if path.name in {"AGENTS.md", "SECURITY.md"} or of_this_project:
            for choice in WORDS.keys() - chosen:
                assert not re.search(WORDS[choice], text, re.I), f"{path}: {choice}"


def test_agents_page_names_what_exists(emitted):
    """Every file, folder and make target in AGENTS.md exists, and so does the test that it runs."""
    _, project = emitted
    page = (project / "AGENTS.md").read_text(encoding="utf-8")
    paths = quoted_paths(page)
    assert len(paths) > 15
    assert [name for name in paths if not (project / name).exists() and not list(project.rglob(name))] == []
    for command in commands(page):
        if command.startswith("make "):
            run(command.replace("make ", "make --dry-run ").split(), project, clean_environ())
    (file, name), *rest = re.findall(r"pytest (\S+) -k (\S+)", page)
    assert (rest, f"def test_{name}(" in (project / file).read_text(encoding="utf-8")) == ([], True)


def test_defences_exist(emitted):
    """Every file and setting in SECURITY.md exists, and it lists what it does not defend."""
    _, project = emitted
    page = (project / "SECURITY.md").read_text(encoding="utf-8")
    paths = quoted_paths(page)
    assert len(paths) > 6
    assert [name for name in paths if not (project / name).exists()] == []
    sources = (project / "config" / "settings.py", project / "realtime" / "conf.py")
    settings = "".join(source.read_text(encoding="utf-8") for source in sources)
    names = re.findall(r"`([A-Z]+_[A-Z_]+)…?`", page)
    assert len(names) > 4
    assert [name for name in names if name not in settings] == []
    assert len(re.findall(r"^- ", page.partition("## Not defended")[2], re.M)) > 3


def test_picture_is_drawn_with_what_is_there(emitted):
    """docs/message.md has a plain Mermaid diagram, and each step has a row with existing files and functions."""
    _, project = emitted
    page = (project / "docs" / "message.md").read_text(encoding="utf-8")
    (diagram,) = re.findall(r"^```mermaid\n(.*?)^```$", page, re.M | re.S)
    first, second, *lines = [line.strip() for line in diagram.splitlines() if line.strip()]
    assert (first, second) == ("sequenceDiagram", "autonumber")
    people = {line.split()[1] for line in lines if line.startswith("participant ")}
    steps = 0
    for line in lines:
        if arrow := re.fullmatch(r"(\w+)--?>>(\w+): [^;#]+", line):
            assert people.issuperset(arrow.groups()), line
            steps += 1
        elif note := re.fullmatch(r"Note over (\w+),(\w+): [^;#]+", line):
            assert people.issuperset(note.groups()), line
        else:
            assert re.fullmatch(r"participant \w+ as [^;#]+|box [\w ]+|end", line), line
    assert lines.count("end") == sum(line.startswith("box ") for line in lines)

    rows = re.findall(r"^\| (\d[^|]*) \| (.+) \|$", page, re.M)
    numbers = []
    for row, _ in rows:
        for part in row.split(", "):
            start, _, end = part.partition(" to ")
            numbers += range(int(start), int(end or start) + 1)
    assert numbers == list(range(1, steps + 1))
    assert [name for name in quoted_paths(page) if not (project / name).is_file()] == []
    named = re.findall(r"((?:`[#\w]+\(\)`(?: and )?)+) in `([\w./]+)`", page)
    assert len(named) > 10
    for functions, file in named:
        code = (project / file).read_text(encoding="utf-8")
        for function in re.findall(r"`([#\w]+)\(\)`", functions):
            assert re.search(rf"^ *(async )?(def )?{function}\((.*[:{{])?$", code, re.M), (function, file)


def test_recipes_apply(emitted):
    """Each recipe applies to the new project, and so do all of them one after another.

    One changes an app that a command of the same page writes.
    """
    answers, project = emitted
    names = [*recipes(answers["auth"]), TESTS, MOUNTS, LANGUAGE, *[JWTS] * (answers["auth"] != "none"), OTHER_CODE]
    names += [MODEL] * (answers["examples"] == "all")
    patches = [f"docs/recipes/{name}.md" for name in names if name != "add-a-consumer"]
    others = ["delete-an-app.md"] * (answers["examples"] == "all")  # commands without edits
    assert sorted(path.name for path in (project / "docs" / "recipes").iterdir()) == sorted(
        ["README.md", *(f"{name}.md" for name in (*names, DELETE)), *others]
    )
    chat = ["--unidiff-zero", f"docs/recipes/{DELETE}.md"]
    for patch in (*([patch] for patch in patches), chat, patches):
        done = subprocess.run(["git", "apply", "--check", *patch], cwd=project, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), patch
