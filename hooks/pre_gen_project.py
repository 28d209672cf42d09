"""Refuse impossible answers before any file is written.

Cookiecutter renders this file and runs it. ANSWERS is then a literal with every answer. `tojson` escapes every quote
within an answer, so no answer can end the literal or be read as code.
"""

import json
import re
import shlex
import sys
import unicodedata

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

LONGEST_TEXT = 200
EMAIL = re.compile(r"[^@\s\"\\<>(),;:]+@[^@\s\"\\<>(),;:]+\.[^@\s\"\\<>(),;:.]+")
# Packages that emitted projects install. uv cannot install a package into a project of the same name.
TAKEN = """
    anyio asgiref ast-serialize attrs autobahn automat cbor2 cffi channels channels-redis click colorama constantly
    coverage cryptography daphne dj-database-url django django-stubs django-stubs-ext django-tasks environs h11 h2
    hiredis hpack httptools hypercorn hyperframe hyperlink idna incremental iniconfig librt marshmallow msgpack mypy
    mypy-extensions packaging paho-mqtt pathspec pluggy priority psycopg psycopg-binary psycopg-pool prometheus-client
    pycparser pygments pyopenssl pytest pytest-asyncio pytest-cov pytest-django python-dotenv python-json-logger
    pyyaml redis ruff servestatic service-identity sqlparse trustme twisted txaio types-channels types-pyyaml
    typing-extensions tzdata ujson uvicorn uvloop websockets wsproto zope-interface
"""
UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # controls, lone surrogates, line and paragraph separators
CRUFT = "_output_dir" not in ANSWERS  # cruft renders the answers again at each update


def problem(answers):
    """Return what is wrong with the answers and how to fix it, in one line, or None."""
    if answers["__slug"].startswith("\x7b"):  # older versions render no private variables
        return "cookiecutter is older than 2.1: use a newer one, such as by uvx cookiecutter."
    for key in ("project_name", "description", "author_name", "author_email"):
        text = answers[key]
        if any(unicodedata.category(character) in UNPRINTABLE for character in text):
            return f"{key} contains a line break or another control character: use plain text in one line."
        if CRUFT and (found := re.search(r"\{[\x7b%#]", text)):
            return f"{key} contains {found[0]}, which cruft would render as a template at each update: remove it."
        if len(text) > LONGEST_TEXT:
            return f"{key} has {len(text)} characters: use at most {LONGEST_TEXT}."
    for key in ("project_name", "author_name"):
        if not answers[key].strip():
            return f"{key} is empty: use a text such as {key}='Talking Site'."
    if answers["author_email"] and not EMAIL.fullmatch(answers["author_email"]):
        return "author_email is not an e-mail address: use one such as ann@example.com, or leave it empty."

    slug = answers["project_slug"]
    if re.sub("[-_]+", "-", slug) in TAKEN.split():
        return f"project_slug {slug!a} is the name of a package that the project needs: use another, such as my-{slug}."

    for key, choices in answers["_choices"].items():
        if answers[key] not in choices:
            return f"{key} {answers[key]!a} is not a choice: use one of {', '.join(choices)}."
    return None


def command(answers):
    """Return the command that gives these answers without prompts."""
    given = (f"{key}={value}" for key, value in answers.items() if not key.startswith("_"))
    return shlex.join(["uvx", "cookiecutter", "--no-input", answers["_template"], *given])


if __name__ == "__main__":
    if complaint := problem(ANSWERS):
        again = "" if CRUFT else f"\n\nCorrect this answer in a command with all of them:\n\n{command(ANSWERS)}\n"
        sys.exit(f"Error: {complaint}{again}")
