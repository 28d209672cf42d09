"""Hostile texts as answers, and cookiecutter run as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

from support.emitted import clean_environ
from support.matrix import TEMPLATE

NASTY = {
    "quotes": """It's "the" 'site'""",
    "three quotes": "'''x\"\"\"y",
    "backslashes": "a\\b\\\\c\\n\\U0001F600\\",
    "umlauts": "Größenwahn für Übermütige",
    "other scripts": "日本語 العربية עברית",
    "emoji": "👩‍👩‍👧‍👦 chat 🇩🇪",
    "jinja": "{{ cookiecutter }} {% raw %} {# no #} }} %}",
    "django": "{{ settings.SECRET_KEY }}{% include 'x' %}",
    "markup": "<script>alert(1)</script> & <b>",
    "shell": "$(touch x) `y` ; rm $HOME | & > < * ~ !",
    "toml": 'x", y = 1 # z',
    "symbols": "!§$%&/()=?*+~#'-_.:,;<>|^°",
    "longest": "x" * 200,
    "spaces": "  between   spaces  ",
    "yaml": "yes: [a, *b, &c] # no",
}


def literal(text: str) -> str:
    """Quote a text for cookiecutter, which renders answers on the command line as templates."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if "{" in text else text


def generate(folder: Path, *arguments: str, typed: str | None = None, **options) -> subprocess.CompletedProcess:
    """Run cookiecutter as a user does, with `out` below the folder as target and a configuration of its own."""
    out = folder / "out"
    if not out.exists():
        out.mkdir()
    config = folder / "config.yaml"
    places = {"cookiecutters_dir": str(folder / "cookiecutters"), "replay_dir": str(folder / "replay")}
    config.write_text(json.dumps(places), encoding="utf-8")
    program = [sys.executable, "-m", "cookiecutter", "--config-file", str(config), "--output-dir", str(out)]
    no_input = [] if typed is not None else ["--no-input"]
    environ = clean_environ(PYTHONIOENCODING="utf-8", COLUMNS="1000")
    return subprocess.run(
        [*program, *no_input, str(TEMPLATE), *arguments],
        env=environ,
        input=typed,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        **options,
    )
