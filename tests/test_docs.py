"""What emitted pages say is so: links lead somewhere, commands, files and functions are there, patches apply."""

import re
import subprocess

import pytest
from support.emitted import bake, clean_environ, run
from support.matrix import combinations, is_possible, label, spread
from support.pages import DELETE, RECIPES, commands

# Every combination of the answers that pages depend on; the others take turns.
POSSIBLE = filter(is_possible, combinations("auth", "channel_layer", "database", "deploy"))
COMBINATIONS = spread(POSSIBLE, "consumers", "server")
# What a page of a project does not know of unless that was chosen.
WORDS = {
    ("channel_layer", "redis"): r"redis",
    ("database", "postgresql"): r"postgres",
    ("deploy", "docker"): r"docker|nginx",
    ("deploy", "kubernetes"): r"kube|cluster",
    ("auth", "token"): r"\btokens?\b|ticket",
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
    """The answers, and the project."""
    return request.param, bake(cookies_session, **request.param)


def pages(project):
    return {path: path.read_text(encoding="utf-8") for path in sorted(project.rglob("*.md"))}


def prose(text):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def quoted_paths(text):
    """What a page names in its prose that looks like a file or a folder of the project."""
    names = [name for name in QUOTED.findall(prose(text)) if re.fullmatch(r"[\w./-]+", name)]
    return {name for name in names if re.search(r"^[^/].*/|\.(py|js|md|toml|yaml)$", name)}


def anchors(text):
    """What a link may name on a page: its headings as GitHub and GitLab write them."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_is_short(emitted):
    """It has at most sixty lines, and AGENTS.md is a page."""
    _, project = emitted
    assert len((project / "README.md").read_text(encoding="utf-8").splitlines()) <= 60
    assert len((project / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 80


def test_links_lead_somewhere(emitted):
    """Each link to a file of the project, and to a heading in it, and every page is linked from README.md."""
    _, project = emitted
    seen, new = set(), {project / "README.md"}
    while new:
        page = new.pop()
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            assert path.is_file(), f"{page}: {target}"
            if anchor:
                assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page}: {target}"
            if path.suffix == ".md" and path not in seen:
                new.add(path)
    assert seen == set(pages(project))


def test_pages_know_what_was_chosen_only(emitted):
    """Neither the rules, nor the picture, nor the recipes speak of anything else."""
    answers, project = emitted
    chosen = set(answers.items()) | ({("deploy", "docker")} if answers["deploy"] == "kubernetes" else set())
    for path, text in pages(project).items():
        if path.name in {"AGENTS.md", "SECURITY.md"} or project / "docs" in path.parents:
            for choice in WORDS.keys() - chosen:
                assert not re.search(WORDS[choice], text, re.I), f"{path}: {choice}"


def test_agents_are_told_what_is_there(emitted):
    """Every file, folder and make target that AGENTS.md names exists, and the test that it runs."""
    _, project = emitted
    page = (project / "AGENTS.md").read_text(encoding="utf-8")
    paths = quoted_paths(page)
    assert len(paths) > 15
    assert [name for name in paths if not (project / name).exists() and not list(project.rglob(name))] == []
    for command in commands(page):
        if command.startswith("make "):
            run(command.replace("make ", "make --dry-run ").split(), project, clean_environ())
    (file, name), *rest = re.findall(r"pytest --no-cov (\S+) -k (\S+)", page)
    assert (rest, f"def test_{name}(" in (project / file).read_text(encoding="utf-8")) == ([], True)


def test_defences_are_where_it_is_said(emitted):
    """Every file that SECURITY.md names exists, and every setting is one; it says what is not defended."""
    _, project = emitted
    page = (project / "SECURITY.md").read_text(encoding="utf-8")
    paths = quoted_paths(page)
    assert len(paths) > 6
    assert [name for name in paths if not (project / name).exists()] == []
    settings = (project / "config" / "settings.py").read_text(encoding="utf-8")
    names = re.findall(r"`([A-Z]+_[A-Z_]+)…?`", page)
    assert len(names) > 4
    assert [name for name in names if name not in settings] == []
    assert len(re.findall(r"^- ", page.partition("## Not defended")[2], re.M)) > 3


def test_picture_is_drawn_with_what_is_there(emitted):
    """It is plain Mermaid; each numbered step has a row with files and functions that exist."""
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
            assert re.search(rf"^ *(async )?(def )?{function}\(.*[:{{]$", code, re.M), (function, file)


def test_recipes_apply(emitted):
    """Each to the project as it was generated, and all of them one after another."""
    _, project = emitted
    patches = [f"docs/recipes/{name}.md" for name in RECIPES]
    assert sorted(path.name for path in (project / "docs" / "recipes").iterdir()) == sorted(
        ["README.md", *(f"{name}.md" for name in (*RECIPES, DELETE))]
    )
    for patch in (*([patch] for patch in patches), [f"docs/recipes/{DELETE}.md"], patches):
        done = subprocess.run(["git", "apply", "--check", *patch], cwd=project, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), patch
