"""Generator of the parts of README.md and CONTRIBUTING.md that repeat other files: `make docs`.

A part stands between `<!-- made: its name -->` and `<!-- end -->`. The first minute is a recorded run with typed
answers. The questions come from cookiecutter.json, the changed files from differences.py, the numbers from matrix.py.
`python -m tools.readme questions files matrix` writes all but the recording.
"""

import itertools
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path, PurePosixPath

from support.differences import DIFFERENCES
from support.emitted import clean_environ, run
from support.matrix import CHOICES, CONTEXT, CORE, PYTHONS, PYTHONS_OF_CI, TEMPLATE, combinations
from support.servers import PATIENCE, free_port, start_site

from demo import find_python

HOME = "gh:org/channels-template"
NAME = "Book Club"
WIDTH = 120
# Lines replaced by dots, and text that differs between machines.
LEFT_OUT = re.compile(r" \+ |  Applying |.*(Watching for|Started server|Waiting for)")
NOT_SHOWN = re.compile(r"(?<=\d) interpreter at: .*| +\[client=.*\]$| +$|^.* uvicorn\.access: .*\n?", re.M)
# Files that nearly every answer changes.
COMMON = ("AGENTS.md", "README.md", "docs/", "pyproject.toml", "tests/", ".env.example", ".gitignore")


def record(folder: Path) -> tuple[str, Path]:
    """Generate and start a project in a folder. Return the screen and the project."""
    (folder / "cookiecutter.yaml").write_text(f"replay_dir: {folder}\n")
    environ = clean_environ(
        COLUMNS="120",
        COOKIECUTTER_CONFIG=str(folder / "cookiecutter.yaml"),
        DJANGO_SETTINGS_MODULE="config.settings",  # named on the screen
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
    """Answer the first question of a command, and the others with Enter. Return its screen."""
    terminal, own = pty.openpty()
    process = subprocess.Popen(command, cwd=folder, env=environ, stdin=own, stdout=own, stderr=own)
    os.close(own)
    screen, text = b"", ""
    while select.select([terminal], [], [], PATIENCE)[0]:
        try:
            new = os.read(terminal, 65536)
        except OSError:  # Linux raises it once the other end is closed
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
    """Keep the first two questions and the first with choices, replace the others by dots, keep the rest."""
    questions = re.split(r"^(?=  \[\d+/)", text, flags=re.M)
    _, one, two, *others = questions
    chosen = next(question for question in others if "Choose from" in question)
    *_, last = questions
    return f"{one}{two}  …\n{chosen}  …\n\n{last.partition('): ')[2].strip()}"


def shortened(lines: list[str]) -> list[str]:
    """Replace uninformative lines by dots."""
    short = []
    for left_out, group in itertools.groupby(lines, lambda line: bool(LEFT_OUT.match(line))):
        short += ["  …"] if left_out else group
    return short


def stable(transcript: str) -> str:
    """Replace the numbers that differ between runs: seconds, versions and counts of packages."""
    return re.sub(r"\d[\d.,:]*( ?ms| ?s\b)?", "0", transcript)


def questions() -> str:
    """Return the questions: a table of those with free text, then a paragraph for each with choices."""
    rows = ["| Question | | Default |", "| --- | --- | --- |"]
    paragraphs = []
    for key in (key for key in CONTEXT if not key.startswith("_")):
        prompt = CONTEXT["__prompts__"][key]
        if key in CHOICES:
            first, *_ = CHOICES[key]
            paragraphs += ["", f"**{prompt['__prompt__']}** `{key}`", ""]
            for choice in CHOICES[key]:
                default = " (the default)" if choice == first else ""
                paragraphs.append(f"- `{choice}`{default}{prompt[choice].removeprefix(choice)}.")
        else:
            default = CONTEXT[key]
            value = "derived from the name" if "slugify" in default else f"`{default}`" if default else "empty"
            rows.append(f"| `{key}` | {prompt} | {value.replace('{{ cookiecutter.project_name }}', '<name>')} |")
    return "".join(f"{line}\n" for line in [*rows, *paragraphs])


def files() -> str:
    """Return the questions with the files that their answers change, as a list."""
    lines = []
    for key in (key for key in CONTEXT if not key.startswith("_")):
        item = f"- `{key}`: {', '.join(f'`{name}`' for name in changed(key))}"
        lines += textwrap.wrap(item, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "".join(f"{line}\n" for line in lines)


def changed(question: str) -> list[str]:
    """Return the files that any answer to a question changes; a folder in place of more than three of its files."""
    names = {name.lstrip("+-") for (key, _), names in DIFFERENCES.items() if key == question for name in names}
    folders: dict[str, list[str]] = {}
    for name in sorted({name for name in names if not name.startswith(COMMON)} or names):
        folders.setdefault(PurePosixPath(name).parts[0], []).append(name)
    return [name for top, names in folders.items() for name in (names if len(names) <= 3 else [f"{top}/"])]


def matrix() -> str:
    """Return the numbers of tested combinations, as a list."""
    core = len(combinations(*CORE))
    *others, last = (f"`{key}`" for key in CORE)
    items = (
        f"- All {core} combinations of {', '.join(others)} and {last} pass their own tests and serve clients over real "
        f"sockets, on Python {' and '.join(PYTHONS)}. Databases and Djangos take turns, so that any two answers meet.",
        "- They also pass ruff, mypy (strict) and Django's checks, including those for production. "
        f"`make combinations` repeats it on each Django and on Python {', '.join(PYTHONS_OF_CI)}.",
    )
    return "".join(f"{line}\n" for item in items for line in textwrap.wrap(item, WIDTH, subsequent_indent="  "))


def transcript() -> str:
    """Record the first minute, as a block of code."""
    with tempfile.TemporaryDirectory() as folder:
        return as_block(record(Path(folder))[0])


def as_block(screen: str) -> str:
    """Return a screen as a block of code."""
    return f"```console\n{screen}```\n"


def parts(text: str, name: str) -> tuple[str, str, str]:
    """Split a page into the text before a part, the part, and the text after it."""
    start, end = f"<!-- made: {name} -->\n", "<!-- end -->"
    before, _, rest = text.partition(start)
    part, _, after = rest.partition(end)
    assert after, f"the page has no {start}"
    return before + start, part, end + after


PAGES = {
    "questions": TEMPLATE / "README.md",
    "matrix": TEMPLATE / "README.md",
    "transcript": TEMPLATE / "README.md",
    "files": TEMPLATE / "CONTRIBUTING.md",
}
MAKERS = {"questions": questions, "matrix": matrix, "transcript": transcript, "files": files}


def main() -> None:
    """Write the parts that are named as arguments, or all of them."""
    for name in sys.argv[1:] or MAKERS:
        made = MAKERS[name]()
        before, _, after = parts(PAGES[name].read_text(encoding="utf-8"), name)
        PAGES[name].write_text(before + made + after, encoding="utf-8")


if __name__ == "__main__":
    main()
