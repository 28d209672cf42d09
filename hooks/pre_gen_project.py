"""Refuse impossible answers before any file is written.

Cookiecutter renders this file and runs it. ANSWERS is then a literal with every answer. `tojson` escapes every quote
within an answer, so no answer can end the literal or be read as code.
"""

import json
import os
import re
import sys
import unicodedata
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

LONGEST_TEXT = 200
LONGEST_SLUG = 63  # of a DNS label, and of a PostgreSQL database's name
SLUG = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
EMAIL = re.compile(r"[^@\s\"\\<>(),;:]+@[^@\s\"\\<>(),;:]+\.[^@\s\"\\<>(),;:.]+")
# Packages that emitted projects install. uv cannot install a package into a project of the same name.
TAKEN = """
    anyio asgiref ast-serialize attrs autobahn automat cbor2 cffi channels channels-redis click colorama constantly
    coverage cryptography daphne dj-database-url django django-stubs django-stubs-ext django-tasks environs h11 h2
    hiredis hpack httptools hypercorn hyperframe hyperlink idna incremental iniconfig librt marshmallow msgpack mypy
    mypy-extensions packaging pathspec pluggy priority psycopg psycopg-binary psycopg-pool prometheus-client pycparser
    pygments pyopenssl pytest pytest-asyncio pytest-cov pytest-django python-dotenv python-json-logger pyyaml redis ruff
    servestatic service-identity sqlparse trustme twisted txaio types-channels types-pyyaml typing-extensions tzdata
    ujson uvicorn uvloop websockets wsproto zope-interface
"""
UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # controls, lone surrogates, line and paragraph separators
CRUFT = "_output_dir" not in ANSWERS  # cruft renders the answers again at each update


def problem(answers):
    """Return what is wrong with the answers and how to fix it, in one line, or None."""
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
    if not SLUG.fullmatch(slug):
        return (
            f"project_slug {slug!a} is not a valid distribution name: use lower case letters, digits, - and _, "
            "with a letter or digit at both ends, such as talking-site."
        )
    if re.sub("[-_]+", "-", slug) in TAKEN.split():
        return f"project_slug {slug!a} is the name of a package that the project needs: use another, such as my-{slug}."
    if len(slug) > LONGEST_SLUG:
        return f"project_slug has {len(slug)} characters: use at most {LONGEST_SLUG}."

    for key, choices in answers["_choices"].items():
        if answers[key] not in choices:
            return f"{key} {answers[key]!a} is not a choice: use one of {', '.join(choices)}."
    if answers["deploy"] == "kubernetes":
        for key, needed in {"channel_layer": "redis", "database": "postgresql"}.items():
            if answers[key] != needed:
                return f"{key} {answers[key]!a} serves one machine, kubernetes many: use {needed}, or deploy=docker."
    return None


def remove_folders(target, output):
    """Delete the empty folders between the target, which is still empty, and the folder of projects.

    Cookiecutter made them all, and would delete the last one only.
    """
    os.chdir(output)
    while output in target.parents:
        try:
            target.rmdir()
        except OSError:
            return
        target = target.parent


if __name__ == "__main__":
    complaint = problem(ANSWERS)
    if complaint:
        target = Path.cwd()
        output = Path(ANSWERS.get("_output_dir", target.parent)).resolve()
        if target.parent != output:
            remove_folders(target, output)
        sys.exit(f"Error: {complaint}")
