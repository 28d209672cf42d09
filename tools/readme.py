"""Makes the parts of README.md that say what is so elsewhere: `make docs`.

A part stands between `<!-- made: its name -->` and `<!-- end -->`. The first minute is a real run, with the answers
typed at a terminal; the questions come from cookiecutter.json, what they change from differences.py, and the numbers
from matrix.py.
"""

import itertools
import os
import pty
import re
import select
import subprocess
import tempfile
import time
from pathlib import Path, PurePosixPath

from support.differences import DIFFERENCES
from support.emitted import clean_environ, run
from support.matrix import CHOICES, CONTEXT, CORE, PYTHONS, TEMPLATE, combinations
from support.servers import PATIENCE, free_port, start_site

from demo import find_python

README = TEMPLATE / "README.md"
HOME = "gh:org/channels-template"
NAME = "Book Club"
# Lines that are many and tell little, for which dots stand, and what differs from one machine to the next.
LEFT_OUT = re.compile(r" \+ |  Applying |\[\d\d:\d\d:\d\d\] watchfiles|.*(Started server|Waiting for)")
NOT_SHOWN = re.compile(r"(?<=\d) interpreter at: .*| +\[client=.*\]$| +$|^.* uvicorn\.access: .*\n?", re.M)
# What follows an answer in nearly every case, and so tells nothing.
COMMON = ("AGENTS.md", "README.md", "docs/", "pyproject.toml", "tests/", ".env.example", ".gitignore")


def record(folder: Path) -> tuple[str, Path]:
    """What a person sees who makes a project in a folder and starts it; and the project."""
    (folder / "cookiecutter.yaml").write_text(f"replay_dir: {folder}\n")
    environ = clean_environ(
        COLUMNS="120",
        COOKIECUTTER_CONFIG=str(folder / "cookiecutter.yaml"),
        NO_COLOR="1",
        TERM="xterm",
        UV_LINK_MODE="symlink",
        UV_NO_PROGRESS="1",
        UV_PYTHON=find_python("3.13"),
    )
    project, port = folder / "book-club", free_port()
    began = time.monotonic()
    questions = answer(["uvx", "cookiecutter", str(TEMPLATE)], folder, environ, NAME)
    setup_began = time.monotonic()
    setup = run(["make", "setup"], project, environ)
    dev_began = time.monotonic()
    with start_site(["make", "dev", f"PORT={port}"], project, environ, port) as site:
        seconds = time.monotonic() - dev_began
        log = site.log.read_text()
    screen = [
        f"$ uvx cookiecutter {HOME}",
        without_most_questions(questions),
        f"$ cd {project.name}",
        f"$ make setup  # {dev_began - setup_began:.0f} s",
        setup.rstrip(),
        f"$ make dev  # ready after {seconds:.0f} s",
        log.rstrip(),
    ]
    text = NOT_SHOWN.sub("", "\n".join(screen).replace(str(port), "8000"))
    print(f"generation took {setup_began - began:.1f} s")
    return "".join(f"{line}\n" for line in shortened(text.splitlines())), project


def answer(command: list[str], folder: Path, environ: dict[str, str], first: str) -> str:
    """The screen of a command that asks questions, of which the first gets this answer, and the rest Enter."""
    terminal, own = pty.openpty()
    process = subprocess.Popen(command, cwd=folder, env=environ, stdin=own, stdout=own, stderr=own)
    os.close(own)
    screen, text = b"", ""
    while select.select([terminal], [], [], PATIENCE)[0]:
        try:
            new = os.read(terminal, 65536)
        except OSError:  # what Linux says of a terminal that nobody has open any more
            break
        if not new:
            break
        screen += new
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode(errors="replace")).replace("\r\n", "\n")
        if text.endswith("): "):
            os.write(terminal, first.encode() + b"\n")
            first = ""
    else:
        process.kill()
    os.close(terminal)
    assert process.wait() == 0, text
    return text.rstrip()


def without_most_questions(text: str) -> str:
    """The first two questions and the first with choices, dots for the others, and what comes after them."""
    questions = re.split(r"^(?=  \[\d+/)", text, flags=re.M)
    _, one, two, *others = questions
    chosen = next(question for question in others if "Choose from" in question)
    *_, last = questions
    return f"{one}{two}  …\n{chosen}  …\n\n{last.partition('): ')[2].strip()}"


def shortened(lines: list[str]) -> list[str]:
    """The lines, with dots in place of those that tell little."""
    short = []
    for left_out, group in itertools.groupby(lines, lambda line: bool(LEFT_OUT.match(line))):
        short += ["  …"] if left_out else group
    return short


def stable(transcript: str) -> str:
    """What two runs have in common: all but seconds, versions and how many packages there are."""
    return re.sub(r"\d[\d.,:]*( ?ms| ?s\b)?", "0", transcript)


def questions() -> str:
    """The table of the questions."""
    rows = ["| Question | Answers, the first is the default | What it changes |", "| --- | --- | --- |"]
    for key in (key for key in CONTEXT if not key.startswith("_")):
        prompt = CONTEXT["__prompts__"][key]
        if key in CHOICES:
            prompt, answers = (
                prompt["__prompt__"],
                "<br>".join(f"`{choice}`{prompt[choice].removeprefix(choice)}" for choice in CHOICES[key]),
            )
        else:
            default = CONTEXT[key]
            answers = "made of the name" if "slugify" in default else f"`{default}`" if default else "nothing"
            answers = answers.replace("{{ cookiecutter.project_name }}", "<name>")
        rows.append(f"| `{key}`<br>{prompt} | {answers} | {', '.join(f'`{name}`' for name in changed(key))} |")
    return "\n".join(rows) + "\n"


def changed(question: str) -> list[str]:
    """What any answer to a question changes; a folder in place of more than three of its files."""
    files = {name.lstrip("+-") for (key, _), names in DIFFERENCES.items() if key == question for name in names}
    telling = {name for name in files if not name.startswith(COMMON)} or files
    folders = {}
    for name in sorted(telling):
        folders.setdefault(PurePosixPath(name).parts[0], []).append(name)
    return [name for top, names in folders.items() for name in (names if len(names) <= 3 else [f"{top}/"])]


def matrix() -> str:
    """How many combinations are tested, and how."""
    core, static = len(combinations(*CORE)), len(combinations(*CORE, "database", "django_version"))
    *others, last = (f"`{key}`" for key in CORE)
    return (
        f"- All {core} combinations of {', '.join(others)} and {last} pass the tests that they bring along and serve "
        f"people over real sockets, on Python {' and '.join(PYTHONS)}; databases and Djangos take turns, so that any "
        f"two answers meet.\n- All {static} of these with each database and each Django pass ruff, mypy (strict) and "
        "Django's checks, those for production included.\n"
    )


def as_block(screen: str) -> str:
    return f"```console\n{screen}```\n"


def parts(text: str, name: str) -> tuple[str, str, str]:
    """What stands before a part, the part itself, and what comes after it."""
    start, end = f"<!-- made: {name} -->\n", "<!-- end -->"
    before, _, rest = text.partition(start)
    part, _, after = rest.partition(end)
    assert after, f"README.md has no {start}"
    return before + start, part, end + after


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = {"questions": questions(), "matrix": matrix(), "transcript": as_block(record(Path(folder))[0])}
    text = README.read_text(encoding="utf-8")
    for name, part in made.items():
        before, _, after = parts(text, name)
        text = before + part + after
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
