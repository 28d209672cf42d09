"""Checks of the checker of the house's English."""

import pytest

from tools.voice import TEMPLATE, files, findings

pytestmark = pytest.mark.quick

PYTHON = {
    'def f():\n    """What a user sees."""': "What",
    'def f():\n    """Return the path.\n\n    It is no file."""': "is no",
    'def f():\n    """It is gone."""': "It",
    'def f():\n    """The path of a file."""': "The",
    "x = 1  # which may fail": "which",
    "# Retry, for they may\n# be late.": "for they may",
    "# Retry, for the other process may be late.": "for the other process may",
    "# The server\n# is\n# away.": "is away",
    "print('Redis is not there. Mend REDIS_URL.')": "Mend",
    "def test_rooms_do_not_hear_each_other(): pass": "hear",
    "{% if x %}\nx = 1  # made anew\n{% endif %}": "anew",
}
CLEAN = {
    "a.py": (
        '"""Rooms of the chat."""\n\nsay = site.hear("say")  # for example on a port the server listens on\n'
        '@pytest.fixture\ndef path():\n    """A new file."""\n\n\ndef test_path():\n    """The file is new."""\n'
        'command = ["say", "-m", "tell"]\n\n\ndef f():\n    """Return at most `say` events. There is no limit."""\n'
    ),
    "a.md": "Run it for the user that is gone.\n\n```sh\nsay hello\n```\n\nIs no longer `mend`, [x](https://say.example)\n",
    "a.js": 'const say = 1; // listens on a port\nsend("say");\n',
    "a.css": ".say { color: red; } /* the message */\n",
    "a.yaml": "say: yes # one second\n",
    "a.json": '{"say": "say"}\n',
}
PAGES = {
    "a.md": ("Text.\n\nThe server\nsays so.\n", 4, "says"),
    "a.js": ("let x;\n// what is new\n", 2, "what"),
    "a.css": ("a {}\n/* Mend\n it. */\n", 2, "Mend"),
    "a.html": ("<p>\nA page that <b>nobody</b> reads\n</p>\n", 2, "nobody"),
    "a.yaml": ("a: b\nc: d # who serves\n", 2, "who"),
    "a.json": ('{\n"a": "when your code shall wait"\n}\n', 2, "shall"),
    "Makefile": ("# How fast it is.\nall:\n", 1, "How"),
}


@pytest.mark.parametrize(("code", "word"), PYTHON.items(), ids=PYTHON.values())
def test_banned_form_in_python_is_found(code, word, tmp_path):
    """Comments, docstrings, messages and names of tests are read."""
    path = tmp_path / "a.py"
    path.write_text(code + "\n")
    (line,) = findings(path, "a.py")
    assert line.split(": ")[1] == word


@pytest.mark.parametrize("name", PAGES)
def test_banned_form_on_page_is_found(name, tmp_path):
    """The finding names the file and the line of the word."""
    text, number, word = PAGES[name]
    path = tmp_path / name
    path.write_text(text)
    (line,) = findings(path, name)
    assert line.startswith(f"{name}:{number}: {word}: ")


@pytest.mark.parametrize("name", CLEAN)
def test_code_and_plain_english_pass(name, tmp_path):
    """Identifiers, quoted code and the same words in another sense are no findings."""
    path = tmp_path / name
    path.write_text(CLEAN[name])
    assert list(findings(path, name)) == []


def test_repository_has_no_banned_form():
    """Every comment, docstring, message, page and name of a test is plain technical English."""
    found = [line for path in files([]) for line in findings(path, path.relative_to(TEMPLATE).as_posix())]
    assert not found, "\n".join(found)
