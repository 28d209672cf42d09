"""`manage.py startconsumer` in real projects: apps are clean, pass their tests, work, and can be deleted."""

import contextlib
import itertools
import re
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import OUTAGE, Visits, launch
from support.client import Person, open_socket, receive, send
from support.differences import content
from support.emitted import FAST, bake, environ_for, run
from support.matrix import CHOICES, CORE, PYTHONS, combinations, label, spread
from support.servers import free_port, start_site

MANAGE = ["uv", "run", "python", "manage.py"]
START = [*MANAGE, "startconsumer"]

# Names with each set of options. They come before and after those of other modules, and have up to 27 characters.
FLAGS = ("stored", "user", "public")
SETS = [flags for size in range(len(FLAGS) + 1) for flags in itertools.combinations(FLAGS, size)]
NAMES = ("dice", "a", "zoo10", "board", "thelongestnameofallnewapp", "zoo9", "z", "alongnamewithoutunderscores")
# The other questions change nothing that the command reads or writes.
RUNS = spread(
    combinations("auth"),
    "consumers",
    "server",
    "channel_layer",
    "database",
    "django_version",
    "examples",
    python=PYTHONS,
)
LIVE = spread(combinations("auth"), "server", "channel_layer", "consumers", "database")


def apps_of(auth):
    """Return the apps with their styles and options, each style in two of the three projects.

    If every visitor is a guest, no app is public, and each is written in both styles.
    """
    apps = {}
    for name, flags in zip(NAMES, SETS, strict=True):
        if auth != "none":
            # Each option meets both styles here, and each app has the other style with the other sign-in.
            apps[name] = CHOICES["consumers"][(len(flags) + (auth == "token")) % 2], flags
        elif "public" not in flags:
            apps |= {f"{name}_{style[0]}": (style, flags) for style in CHOICES["consumers"]}
    return apps


def start(project, environ, name, *options):
    """Run the command. Return its output."""
    return run([*START, name, *(f"--{option}" for option in options)], project, environ)


def app_of(project, name):
    """Return the files of an app."""
    files = {path: project / path for path in content(project) if path.startswith(f"{name}/")}
    return {path: file.read_text(encoding="utf-8") for path, file in files.items() if "__pycache__" not in path}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("answers", RUNS, ids=label)
def test_apps_are_clean_and_pass_their_tests(answers, cookies, environment, services):
    """A project with an app of each kind passes its linters, and the apps' tests pass and cover every line.

    With any other server, layer and style, the command writes the same app, and formatted lines.
    """
    answers, python = {**answers}, answers["python"]
    del answers["python"]
    environ = environ_for(environment(python, answers["django_version"]), **FAST, **services(answers))
    project = bake(cookies, **answers)
    apps = apps_of(answers["auth"])
    for name, (style, flags) in apps.items():
        start(project, environ, name, style, *flags)
    run(["make", "lint"], project, environ)
    run([*MANAGE, "makemigrations", "--check"], project, environ)
    output = run(["uv", "run", "pytest", "--cov", "--cov-report=", "--cov-fail-under=0", *apps], project, environ)
    summary = output.strip().splitlines()[-1]
    assert " passed" in summary
    assert not any(word in summary for word in ("skipped", "xfailed", "xpassed", "warning")), output
    included = ",".join(f"{name}/*" for name in apps)
    run(["uv", "run", "coverage", "report", "--fail-under=100", f"--include={included}"], project, environ)

    others = [other for other in combinations(*CORE) if other["auth"] == answers["auth"]]
    for number, other in enumerate(others):
        again = bake(cookies, **other, examples=CHOICES["examples"][number % len(CHOICES["examples"])])
        of_style = [name for name, (style, _) in apps.items() if style == other["consumers"]]
        name = of_style[number // len(CHOICES["consumers"]) % len(of_style)]
        start(again, environ, name, *apps[name][1])
        assert app_of(again, name) == app_of(project, name)
        run(["uv", "run", "ruff", "check", "--no-cache"], again, environ)
        run(["uv", "run", "ruff", "format", "--check", "--no-cache"], again, environ)


@pytest.fixture(scope="module")
def environ(environment):
    """Environment of commands in projects with the defaults."""
    return environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), **FAST)


def test_apps_can_be_deleted(cookies, environ):
    """Without its folder and its lines in config/, an app leaves no trace, and the other one goes on."""
    project = bake(cookies)
    before = content(project)
    start(project, environ, "dice")
    with_dice = content(project)
    start(project, environ, "board", "stored")
    for name, others, expected in (("board", r"|realtime\.feeds", with_dice), ("dice", "", before)):
        shutil.rmtree(project / name)
        for path in (project / "config").glob("*.py"):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if not re.search(rf"\b{name}\b{others}", line)]
            path.write_text("".join(kept), encoding="utf-8")
        assert without_caches(content(project)) == without_caches(expected)


def without_caches(files):
    return {path: data for path, data in files.items() if "__pycache__" not in path}


def test_refusal_is_one_line(cookies, environ):
    """A refused name ends the command with 1 and one line, and nothing is written."""
    project = bake(cookies)
    before = content(project)
    with pytest.raises(AssertionError) as refused:
        start(project, environ, "chat")
    command, *lines = str(refused.value).splitlines()
    assert command.endswith("ended with 1:")
    assert lines == ["CommandError: chat is the name of a file or folder in the project: use another, such as my_chat."]
    assert without_caches(content(project)) == without_caches(before)


def write_note(page, text):
    page.get_by_role("textbox", name="Note").fill(text)
    page.get_by_role("button", name="Send").click()


def sees(page, *notes):
    """Check that a page has exactly these notes."""
    expect(page.get_by_role("log", name="Notes").get_by_role("listitem")).to_have_text(list(notes))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("answers", LIVE, ids=label)
def test_pages_work(answers, cookies, environment, services):
    """Pages and programs see each other's notes. After the server was killed, pages show what they missed, once."""
    project = bake(cookies, **answers)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), **services(answers))
    apps = {"dice": [], "board": ["stored"], "diary": ["stored", "user"], "wall": ["stored", "public"]}
    if answers["auth"] == "none":
        apps["wall"] = ["stored"]
    for name, options in apps.items():
        start(project, environ, name, *options)
    run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
    serve, port = [*MANAGE, "serve"], free_port()
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser, contextlib.ExitStack() as stack:
        site = stack.enter_context(start_site(serve, project, environ, port))
        ann, bob = (Person(site, answers["auth"]) for _ in range(2))
        visits = Visits(browser, site.url)
        one, other = visits(ann, "/dice/"), visits(bob, "/dice/")
        with open_socket(site, "/ws/dice/", additional_headers=ann.headers()) as program:
            assert receive(program)["type"] == "welcome"
            write_note(one.page, "hi <b>")
            note = receive(program)
            assert (note["type"], note["user"], note["text"]) == ("note", ann.name, "hi <b>")
            send(program, type="note", text="hello")
            for window in (one, other):
                sees(window.page, f"{ann.name}: hi <b>", f"{ann.name}: hello")

        boards = [visits(person, "/board/").page for person in (ann, bob)]
        diary = visits(ann, "/diary/")
        diaries = [diary.page, diary.tab("/diary/").page]
        strange = visits(bob, "/diary/").page
        wall = visits(None, "/wall/").page
        for page, text in ((boards[0], "one"), (diaries[0], "secret"), (wall, "open")):
            write_note(page, text)
        for page in boards:
            sees(page, f"{ann.name}: one")
        for page in diaries:
            sees(page, f"{ann.name}: secret")
        sees(wall, re.compile(r"^guest-\w+: open$"))

        visits.expect_problem(OUTAGE)
        site.kill()
        for page in (*boards, wall):
            expect(page.get_by_role("status")).to_have_text("Reconnecting…")
        code = "from board.models import add_note; add_note('1', 'cem', 'c1', 'two')"
        run([*MANAGE, "shell", "-c", code], project, environ)
        stack.enter_context(start_site(serve, project, environ, port))
        for page in boards:
            sees(page, f"{ann.name}: one", "cem: two")
        write_note(boards[1], "three")
        for page in boards:
            sees(page, f"{ann.name}: one", "cem: two", f"{bob.name}: three")
        expect(wall.get_by_role("status")).to_have_text("Connected.")
        write_note(wall, "again")
        name = wall.get_by_role("listitem").first.text_content().partition(":")[0]
        sees(wall, f"{name}: open", f"{name}: again")
        sees(strange)
        if answers["auth"] != "none":
            member = visits(ann, "/wall/").page
            expect(member.get_by_role("status")).to_have_text("Connected.")
            write_note(member, "me too")
            sees(wall, f"{name}: open", f"{name}: again", f"{ann.name}: me too")
        for name in apps:
            narrow = visits(ann, f"/{name}/", viewport={"width": 320, "height": 640})
            expect(narrow.page.get_by_role("status")).to_have_text("Connected.")
            write_note(narrow.page, "W" * 400)
            expect(narrow.page.get_by_role("listitem").last).to_have_text(f"{ann.name}: {'W' * 400}")
            assert (narrow.violations(), narrow.overflows()) == ([], [])
        visits.check()
        visits.close()
