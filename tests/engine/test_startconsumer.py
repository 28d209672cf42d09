"""Command that writes an app with a consumer: names, edits of the project's files, and options."""

from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

SETTINGS = """INSTALLED_APPS = [
    "realtime",
    "chat",  # the last one
]
"""
ROUTING = """from django.urls import re_path

import chat.routing
from realtime.protocol import Close, refuse

websocket_urlpatterns: list[Any] = [
    *chat.routing.websocket_urlpatterns,
    # The others
    re_path(r"", refuse(Close.NOT_FOUND)),  # type: ignore[arg-type]
]
"""
URLS = """from django.urls import include, path, re_path
from django.views.generic import TemplateView

urlpatterns = [
    path("start/", TemplateView.as_view(), name="home"),
    re_path("^begin/$", TemplateView.as_view()),
    path("", include("realtime.urls")),
]
"""


class Site:
    """Small project in a folder, whose files the command edits."""

    def __init__(self, root):
        self.root = root
        self.package = root / f"site_{uuid4().hex}"
        self.package.mkdir()
        self.write("__init__", "")
        self.write("settings", SETTINGS)
        self.write("routing", ROUTING)
        self.write("urls", URLS)

    def write(self, module, text):
        (self.package / f"{module}.py").write_bytes(text.encode())

    def read(self, module):
        return (self.package / f"{module}.py").read_bytes().decode()

    def files(self):
        """Return the content of all files by their paths."""
        paths = (path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def site(tmp_path, settings, monkeypatch):
    """A project of the test's own, in place of the baked one."""
    site = Site(tmp_path)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    settings.BASE_DIR = tmp_path
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", f"{site.package.name}.settings")
    settings.ROOT_URLCONF = f"{site.package.name}.urls"
    return site


def start(*arguments):
    """Run the command. Return the lines of its output."""
    output = StringIO()
    call_command("startconsumer", *arguments, stdout=output)
    return output.getvalue().splitlines()


def refusal(site, *arguments):
    """Return the line with which the command refuses, after a check that it wrote nothing."""
    before = site.files()
    with pytest.raises(CommandError) as refused:
        start(*arguments)
    assert site.files() == before
    (line,) = str(refused.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "cannot be the name of an app") for name in ("Dice", "2dice", "di-ce", "_dice", "", "dïce", "a.b")),
        # Their consumers would have the names of their bases.
        *((name, "cannot be the name of an app") for name in ("realtime_", "sync__realtime")),
        ("d" * 28, "has 28 characters"),
        *((name, "a keyword of Python") for name in ("class", "match", "type")),
        ("list", "a function of Python"),
        ("taken", "a file or folder in the project"),
        *((name, "reserved") for name in ("build", "lobby", "test", "ws")),
        *((name, "an app") for name in ("sessions", "realtime_feeds")),
        *((name, "a module that can be imported") for name in ("json", "django", "config")),
        ("home", "a URL"),
        ("start", "a page"),
        ("begin", "a page"),
        ("refuse", "it uses the name refuse"),
    ],
)
def test_bad_name_is_refused(site, name, reason):
    """A name that no app can have, or that something else has, is refused in one line."""
    (site.root / "taken").mkdir()
    assert reason in refusal(site, name)


def test_app_is_added_to_the_project(site):
    """Each file of the project gets its lines where they belong, and the output lists all files and lines."""
    output = start("dice")
    assert site.read("settings") == SETTINGS.replace("one\n", 'one\n    "dice",\n')
    routing = ROUTING.replace("import chat.routing\n", "import chat.routing\nimport dice.routing\n")
    routing = routing.replace("    # The", "    *dice.routing.websocket_urlpatterns,\n    # The")
    assert site.read("routing") == routing
    urls = URLS.replace('    path("", ', '    path("", include("dice.urls")),\n    path("", ')
    assert site.read("urls") == urls
    written = sorted(name for name in site.files() if name.startswith("dice/"))
    package = site.package.name
    assert output == [
        *written,
        f'{package}/settings.py: "dice",',
        f"{package}/routing.py: import dice.routing",
        f"{package}/routing.py: *dice.routing.websocket_urlpatterns,",
        f'{package}/urls.py: path("", include("dice.urls")),',
        "",
        "The app is ready. Next:",
        "",
        "    python manage.py runserver",
        "",
        "Then open http://127.0.0.1:8000/dice/",
    ]


def test_steps_are_run_as_the_command_was(site, monkeypatch):
    """Within `uv run`, the next steps have it, too."""
    monkeypatch.setenv("UV", "/usr/bin/uv")
    steps = [line.strip() for line in start("dice", "--stored") if "manage.py" in line]
    assert steps == ["uv run python manage.py migrate", "uv run python manage.py runserver"]


def test_imports_are_sorted_as_ruff_sorts_them(site):
    """A number in a name counts as a number, and a block of imports stays sorted."""
    for name in ("dice10", "dice2", "dice", "a_b", "ab", "zebra"):
        start(name)
    imports = [line for line in site.read("routing").splitlines() if line.startswith("import ")]
    names = ["a_b", "ab", "chat", "dice", "dice2", "dice10", "zebra"]
    assert imports == [f"import {name}.routing" for name in names]


def test_habits_of_windows_are_kept(site):
    """A file with a byte order mark, and lines that end as on Windows, keeps both."""
    site.write("urls", "\ufeff" + URLS.replace("\n", "\r\n"))
    start("dice")
    text = site.read("urls")
    assert text.count("\n") == text.count("\r\n") == URLS.count("\n") + 1
    assert text.rindex("\ufeff") == 0


@pytest.mark.parametrize("line", ["path('<slug:name>/', page)", "re_path(r'^(?P<name>.*)/$', page)"])
@pytest.mark.parametrize("place", ['    path("", ', "]\n"], ids=["inside", "at the end"])
def test_page_comes_before_pages_of_any_name(site, line, place):
    """A pattern that matches every name leaves all names free, and has the pages that no app has."""
    text = URLS.replace(place, f"    {line},\n{place}")
    site.write("urls", f"{text}".replace("urlpatterns =", "page = TemplateView.as_view()\n\nurlpatterns ="))
    start("dice")
    urls = site.read("urls")
    assert -1 < urls.index('include("dice.urls")') < urls.index(line)


@pytest.mark.parametrize("last", ['re_path(r".*", refuse(1))', 'path("<path:rest>", refuse(1))', 're_path("", other)'])
def test_socket_comes_before_the_path_of_all_others(site, last):
    """The last path may be written in another way."""
    site.write("routing", ROUTING.replace('re_path(r"", refuse(Close.NOT_FOUND))', last))
    start("dice")
    routing = site.read("routing")
    assert -1 < routing.index("*dice.routing.websocket_urlpatterns") < routing.index(last)


def test_failure_leaves_nothing(site, monkeypatch):
    """If a file cannot be written, the folder goes, the files are as before, and one line reports it."""
    write = Path.write_bytes

    def fail(path, data):
        if path.name == "urls.py" and b"dice" in data:
            write(path, data[:9])
            raise OSError(28, "No space left on device", "urls.py")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    line = "[Errno 28] No space left on device: 'urls.py'. Nothing was changed."
    assert refusal(site, "dice") == line
    assert not (site.root / "dice").exists()


def test_dry_run_lists_what_a_run_writes(site):
    """Nothing is written, and the list is that of the run."""
    before = site.files()
    listed = start("dice", "--stored", "--dry-run")
    assert site.files() == before
    assert start("dice", "--stored")[: len(listed)] == listed
    assert site.files().keys() - before.keys() == {line for line in listed if ":" not in line}


@pytest.mark.parametrize(
    ("module", "text", "line"),
    [
        (
            "settings",
            'INSTALLED_APPS = ["realtime"]\n',
            '/settings.py has no place for "dice", because its items share lines with something else',
        ),
        (
            "settings",
            'INSTALLED_APPS = [\n    "realtime"\n]\n',
            '/settings.py has no place for "dice", because INSTALLED_APPS has items without a line and a comma',
        ),
        (
            "settings",
            "INSTALLED_APPS = []\n",
            '/settings.py has no place for "dice", because INSTALLED_APPS is empty',
        ),
        (
            "settings",
            'INSTALLED_APPS = ("realtime",)\n',
            '/settings.py has no place for "dice", because INSTALLED_APPS is not a list',
        ),
        (
            "routing",
            ROUTING.replace("from realtime.protocol", "from elsewhere"),
            "/routing.py has no place for import dice.routing, because it imports nothing from the engine",
        ),
        (
            "routing",
            f"{ROUTING}(",
            "/routing.py has no place for import dice.routing, because Python cannot read it ('(' was never closed",
        ),
        (
            "routing",
            ROUTING.replace("websocket_urlpatterns", "paths"),
            "/routing.py has no place for *dice.routing.websocket_urlpatterns, because websocket_urlpatterns is not",
        ),
        (
            "urls",
            f"{URLS}urlpatterns += []\n".replace("urlpatterns = [", "paths = [").replace("+=", "= paths +"),
            '/urls.py has no place for path("", include("dice.urls")), because urlpatterns is not a list',
        ),
    ],
)
def test_line_without_a_place_is_named(site, module, text, line):
    """If a file is not as it was generated, one line names what has to be added by hand."""
    site.write(module, text)
    assert line in refusal(site, "dice")


def test_missing_file_is_named(site):
    """A project without a list of WebSocket paths is refused."""
    (site.package / "routing.py").unlink()
    assert "/routing.py has no place for import dice.routing, because there is no such file" in refusal(site, "dice")


def test_lines_are_added_at_the_end_of_lists_without_an_anchor(site):
    """Without the path that refuses the others, and without the engine's paths, the lines are the last ones."""
    site.write("routing", ROUTING.replace('re_path(r"", refuse', "own("))
    site.write("urls", URLS.replace('    path("", include("realtime.urls")),\n', ""))
    start("dice")
    assert site.read("routing").splitlines()[-2:] == ["    *dice.routing.websocket_urlpatterns,", "]"]
    assert site.read("urls").splitlines()[-2:] == ['    path("", include("dice.urls")),', "]"]


@pytest.mark.parametrize(
    ("option", "base"),
    [("", "(SyncRealtimeConsumer)"), ("--sync", "(SyncRealtimeConsumer)"), ("--async", "(RealtimeConsumer)")],
)
def test_setting_chooses_the_style(site, settings, option, base):
    """REALTIME_CONSUMERS is the style of a new consumer, and an option overrides it."""
    settings.REALTIME_CONSUMERS = "sync"
    start("dice", *filter(None, [option]))
    assert f"class DiceConsumer{base}:" in (site.root / "dice" / "consumers.py").read_text()


def test_contradictions_are_refused(site, settings):
    """Both styles at once, an unknown style, and guests where all are guests are refused."""
    assert "not allowed with argument" in refusal(site, "dice", "--sync", "--async")
    settings.REALTIME_CONSUMERS = "both"
    assert refusal(site, "dice") == "REALTIME_CONSUMERS is 'both': use async or sync."
    settings.REALTIME_CONSUMERS = "async"
    settings.REALTIME_AUTHENTICATORS = ["realtime.auth.guests.authenticate"]
    assert refusal(site, "dice", "--public") == "--public: this site admits guests everywhere. Leave the option out."


def test_app_that_numbers_is_installed_if_it_is_missing(site, settings):
    """`--stored` adds it to the first app only."""
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "realtime.feeds"]
    start("dice", "--stored")
    assert '    "realtime.feeds",\n    "dice",\n' in site.read("settings")
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "realtime.feeds"]
    start("board", "--stored")
    assert site.read("settings").count("realtime.feeds") == 1
