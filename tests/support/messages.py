"""Message catalogs of emitted projects: what they need, what they have, and what the template has for all of them."""

import ast
import itertools
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from support.emitted import clean_environ, run
from support.matrix import CHOICES, TEMPLATE, Answers, combinations
from support.programs import require_programs

EMITTED = TEMPLATE / "{{cookiecutter.project_slug}}"
LANGUAGE = "de"
STARTED = "started"  # name of an app that `startconsumer` writes
DOMAINS = ("django", "djangojs")
FIELD = re.compile(r'^(msg\w+(?:\[\d\])?) (".*"(?:\n".*")*)', re.MULTILINE)
HEADER = f"""msgid ""
msgstr ""
"Language: {LANGUAGE}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"
"""

Key = tuple[str, str, str]  # context, text, plural


@dataclass
class Entry:
    """Entry of a catalog, with its translations."""

    key: Key
    flags: str
    texts: list[str]


def parse(text: str) -> dict[Key, Entry]:
    """Return the entries of a catalog without its header. Conditions of the template are left out."""
    found = {}
    for block in re.sub(r"^\{%.*%\}\n", "", text, flags=re.MULTILINE).split("\n\n"):
        fields = {name: "".join(map(ast.literal_eval, value.splitlines())) for name, value in FIELD.findall(block)}
        if not fields.get("msgid"):
            continue
        key = fields.get("msgctxt", ""), fields["msgid"], fields.get("msgid_plural", "")
        flags = " ".join(re.findall("^#,.*", block, re.MULTILINE))
        found[key] = Entry(key, flags, [value for name, value in fields.items() if name.startswith("msgstr")])
    return found


def catalogs(project: Path) -> dict[str, dict[Key, Entry]]:
    """Return the entries of the catalogs in a project, by their paths there."""
    return {
        str(path.relative_to(project)): parse(path.read_text(encoding="utf-8"))
        for path in sorted(project.glob(f"**/locale/{LANGUAGE}/LC_MESSAGES/*.po"))
    }


def extract(project: Path, environment: Path) -> dict[str, dict[Key, Entry]]:
    """Let Django write what the code of a project has to translate. Return its catalogs, which also keep the old.

    The engine has the texts of the apps that it writes.
    """
    require_programs({"xgettext": "gettext"})
    run([str(environment / "bin" / "python"), "manage.py", "startconsumer", STARTED], project, clean_environ())
    for module in project.glob("*/__init__.py"):
        if module.parent.name not in {"config", "tests"}:
            (module.parent / "locale").mkdir(exist_ok=True)
    (project / "locale").mkdir(exist_ok=True)
    for domain in DOMAINS:
        command = [str(environment / "bin" / "django-admin"), "makemessages", "--no-location", "--no-obsolete"]
        run([*command, "--locale", LANGUAGE, "--domain", domain], project, clean_environ())
    found = catalogs(project)
    for name in [name for name in found if name.startswith(STARTED)]:
        found.setdefault(name.replace(STARTED, "realtime", 1), {}).update(found.pop(name))
    return found


def answers_with_texts() -> list[Answers]:
    """Return the answers on which the texts of a project depend."""
    return combinations("auth", "examples")


def write(needed: dict[str, list[tuple[Answers, dict[Key, Entry]]]]) -> None:
    """Write the template's catalogs with the entries that each answer needs, and keep the translations."""
    known = {key: entry.texts for entries in catalogs(EMITTED).values() for key, entry in entries.items()}
    for name, projects in needed.items():
        entries = {key: entry for _, found in projects for key, entry in found.items()}
        for key, entry in entries.items():
            entry.texts = known.get(key, ["", ""] if key[2] else [""])
        where = {key: [answers for answers, found in projects if key in found] for key in entries}
        everywhere = [answers for answers, _ in projects]
        order = sorted(entries, key=lambda key: condition(where[key], everywhere))
        blocks = []
        for test, keys in itertools.groupby(order, key=lambda key: condition(where[key], everywhere)):
            text = format_entries(entries[key] for key in keys)
            blocks.append(f"{{% if {test} %}}\n{text}{{% endif %}}\n" if test else text)
        path = EMITTED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + "".join(blocks), encoding="utf-8")
        path.with_suffix(".mo").write_bytes(compile_catalog(entries.values()))


def condition(some: list[Answers], everywhere: list[Answers]) -> str:
    """Return the condition that is true for some of the answers only, "" if it is for all."""
    tests = []
    left = everywhere
    for question in ("auth", "examples"):
        chosen = {answers[question] for answers in some}
        if chosen < {answers[question] for answers in left}:
            tests.append(test_of(question, chosen))
            left = [answers for answers in left if answers[question] in chosen]
    assert left == some, f"No condition is true for {some} only"
    return " and ".join(tests)


def test_of(question: str, chosen: set[str]) -> str:
    others = [choice for choice in CHOICES[question] if choice not in chosen]
    if len(chosen) == 1:
        return f'cookiecutter.{question} == "{min(chosen)}"'
    (other,) = others
    return f'cookiecutter.{question} != "{other}"'


def format_entries(entries: Iterable[Entry]) -> str:
    """Return entries as gettext writes them, without a header, each after an empty line."""
    source = HEADER + "".join(map(format_entry, entries))
    done = subprocess.run(["msgcat", "-"], input=source.encode(), capture_output=True, check=True)
    return "\n" + done.stdout.decode().split("\n\n", 1)[1]


def format_entry(entry: Entry) -> str:
    context, text, plural = entry.key
    lines = [entry.flags] if entry.flags else []
    lines += [f"msgctxt {quote(context)}"] if context else []
    lines += [f"msgid {quote(text)}"]
    if plural:
        lines += [f"msgid_plural {quote(plural)}"]
        lines += [f"msgstr[{number}] {quote(one)}" for number, one in enumerate(entry.texts)]
    else:
        lines += [f"msgstr {quote(entry.texts[0])}"]
    return "\n" + "\n".join(lines) + "\n"


def quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def compile_catalog(entries: Iterable[Entry]) -> bytes:
    """Return the compiled catalog of these entries."""
    source = HEADER + "".join(map(format_entry, entries))
    command = ["msgfmt", "--check", "--output-file=-", "-"]
    return subprocess.run(command, input=source.encode(), capture_output=True, check=True).stdout
