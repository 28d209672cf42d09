"""Real browsers, actions of people in their windows, and checks of what browsers report."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Playwright,
    Request,
    Response,
    expect,
)

import demo
from support.client import Person
from support.emitted import BUILD, clean_environ, run
from support.programs import ROOTS, require_programs

WITHOUT_NETLINK = Path(__file__).with_name("without_netlink.py")
PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
}
AXE = """axe.run().then(({ violations }) => violations.map(({ id, nodes }) =>
  [id, ...nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`)]))"""
# While there is no server, and for what a killed one left without an answer.
OUTAGE = "CONNECTION_(REFUSED|RESET)|EMPTY_RESPONSE|INTERNET_DISCONNECTED|WebSocket connection|establish a connection"

# Two cores run two such tests at once, each with a browser and a server.
expect.set_options(timeout=20_000)


def find_browser(kind: str) -> str:
    """Return the path of a browser, without a view of the network. Install it from Debian if it is missing."""
    names = PROGRAMS[kind]
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        require_programs({names[0]: names[0]})
        found = shutil.which(names[0], path=ROOTS)
    if kind != "chromium":
        return found
    program = BUILD / kind
    BUILD.mkdir(exist_ok=True)
    content = f'#!/bin/sh\nexec "{sys.executable}" "{WITHOUT_NETLINK}" "{found}" "$@"\n'
    if not program.exists() or program.read_text() != content:
        new = program.with_name(f"{kind}-{os.getpid()}")
        new.write_text(content)
        new.chmod(0o755)
        new.rename(program)
    return str(program)


@contextlib.contextmanager
def launch(playwright: Playwright, kind: str) -> Iterator[Browser]:
    """Start a browser of the system. Firefox is driven by WebDriver BiDi."""
    options = {"channel": "moz-firefox"} if kind == "firefox" else {}
    browser = getattr(playwright, kind).launch(executable_path=find_browser(kind), **options)
    yield browser
    browser.close()


def node_packages(name: str = "browser") -> Path:
    """Return the folder of the npm packages that a folder beside this file names. Install what is missing."""
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (Path(__file__).parent / name / "package.json").read_text(encoding="utf-8")
    stamp = folder / "installed.json"
    with FileLock(BUILD / f"{name}.lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            (folder / "package.json").write_text(wanted)
            install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
            run(install, folder, clean_environ())
            stamp.write_text(wanted)
    return folder / "node_modules"


def prepare_demo(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment that serve build/demo with an empty database."""
    demo.set_up()
    python = str(demo.PROJECT / ".venv" / "bin" / "python")
    environ = clean_environ(DATABASE_URL=f"sqlite:///{folder / 'db.sqlite3'}")
    run([python, "manage.py", "migrate", "--verbosity", "0"], demo.PROJECT, environ)
    return [python, "manage.py", "serve"], environ


def seed(room: str, last: int, first: int = 1, days_ago: int = 0) -> list[str]:
    """Return arguments for manage.py that fill a room with messages of a third user, some days old."""
    code = f"""
from datetime import UTC, datetime, timedelta
from chat.models import Message, Room
room, _ = Room.objects.update_or_create(name={room!r}, defaults={{"seq": {last}}})
at = datetime.now(UTC) - timedelta(days={days_ago})
Message.objects.bulk_create(
    Message(room=room, seq=seq, user_name="zoe", ref=str(seq), text=f"Message {{seq}}", at=at)
    for seq in range({first}, {last} + 1)
)"""
    return ["shell", "-c", code]


@contextlib.contextmanager
def visiting(browser: Browser, url: str, *problems: str) -> Iterator["Visits"]:
    """Yield a function that opens windows. At the end, check that their consoles contain these problems only."""
    visits = Visits(browser, url)
    for problem in problems:
        visits.expect_problem(problem)
    try:
        yield visits
        visits.check()
    finally:
        visits.close()


class Visits:
    """Windows of people on a site, and the problems that browsers reported in them."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self.problems: list[str] = []
        # A page asks for what is new in other rooms, and may be left before the answer.
        self.expected = [r"/rooms/\?\S* (net::ERR|NS_BINDING)_ABORTED"]
        self.contexts: list[BrowserContext] = []

    def __call__(self, person: Person | None, path: str, **options: object) -> "Window":
        """Open a page in a new browser profile. Without a person, the visitor is not signed in."""
        context = self.browser.new_context(base_url=self.url, timezone_id="UTC", locale="en-GB", **options)
        cookies = person.http.cookies.items() if person else ()
        context.add_cookies([{"name": name, "value": value, "url": self.url} for name, value in cookies])
        # Firefox shows violations in its console to people only.
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (event) =>"
            " console.error('CSP', event.effectiveDirective, event.blockedURI, event.sourceFile))"
        )
        context.on("console", self.on_console)
        context.on("weberror", lambda error: self.problems.append(f"exception: {error.error}"))
        context.on("requestfailed", self.on_failure)
        context.on("response", self.on_response)
        self.contexts.append(context)
        window = Window(context.new_page())
        window.page.goto(path)
        return window

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"console: {message.text}")

    def on_failure(self, request: Request) -> None:
        self.problems.append(f"request: {request.url} {request.failure}")

    def on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"response: {response.url} {response.status}")

    def expect_problem(self, pattern: str) -> None:
        """Ignore problems that match the pattern."""
        self.expected.append(pattern)

    def check(self) -> None:
        """Fail if there was an unexpected problem."""
        unexpected = [
            problem for problem in self.problems if not any(re.search(pattern, problem) for pattern in self.expected)
        ]
        assert not unexpected, unexpected

    def close(self) -> None:
        for context in self.contexts:
            context.close()


class Window:
    """A page of a room. Its parts are found as a screen reader finds them, if possible."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.log = page.get_by_role("log", name="Messages")
        self.messages = page.locator("li.message")
        self.status = page.get_by_role("status")
        self.people = page.locator(".people")
        self.typing = page.locator(".typing")
        self.box = page.get_by_role("textbox", name="Message")

    def tab(self, path: str) -> "Window":
        """Open another window of the same browser profile."""
        window = Window(self.page.context.new_page())
        window.page.goto(path)
        return window

    def send(self, *texts: str) -> None:
        for text in texts:
            self.box.fill(text)
            self.box.press("Enter")

    def lose_network(self) -> None:
        """Cut the network, and wait until the page has failed to reconnect. It must show this before."""
        with self.page.expect_console_message(lambda message: "INTERNET_DISCONNECTED" in message.text):
            self.page.context.set_offline(True)
            expect(self.status).to_have_text("Offline", timeout=5_000)

    def fill_in(self, button: str, fields: dict[str, str]) -> None:
        """Fill in and submit a form."""
        for label, value in fields.items():
            self.page.get_by_label(re.compile(f"^{label}:?$")).fill(value)
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=button).click()

    def tab_to(self, target: Locator, key: str = "Tab") -> None:
        """Press Tab until the target has the focus."""
        for _ in range(20):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press(key)
        raise AssertionError(f"{key} does not lead to {target}")

    def read_back_to(self, seq: int) -> None:
        """Scroll up until this message is loaded. Visible messages must not move while older ones load."""
        while (first := int(self.messages.first.get_attribute("data-seq"))) > seq:
            oldest = self.log.locator(f"[data-seq='{first}'] .text")
            top = "text => text.getBoundingClientRect().top"
            # Scroll and measure in one step, before older messages load.
            before = oldest.evaluate(
                f"text => {{ text.closest('[role=log]').scrollBy(0, -1e6); return ({top})(text) }}"
            )
            expect(self.messages.first).not_to_have_attribute("data-seq", str(first))
            after = oldest.evaluate(top)
            assert abs(after - before) < 10, f"message {first} moved from {before} to {after}"

    def transcript(self, count: int) -> list[tuple[int, str, str]]:
        """Return number, user and text of each message, once there are `count` and all are stored."""
        expect(self.messages).to_have_count(count)
        expect(self.log.locator(".pending, .failed")).to_have_count(0)
        rows = self.messages.evaluate_all(
            "items => items.map((item) => [Number(item.dataset.seq),"
            " ...['.user', '.text'].map((part) => item.querySelector(part).textContent)])"
        )
        return [tuple(row) for row in rows]

    def sees(self, *transcript: tuple[int, str, str]) -> None:
        """Check that the log has exactly these messages, in this order."""
        assert self.transcript(len(transcript)) == list(transcript)

    def violations(self) -> list[list[str]]:
        """Return the rules of axe that the page breaks in either colour scheme, each with the elements."""
        self.page.evaluate((node_packages() / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
        found = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            found += self.page.evaluate(AXE)
        return found

    def overflows(self) -> list[str]:
        """Return the elements that are too wide, so that people would have to scroll sideways."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll("*")].filter((element) =>
              element.getBoundingClientRect().right > innerWidth + 0.5 ||
              (/auto|scroll/.test(getComputedStyle(element).overflowX) && element.scrollWidth > element.clientWidth)
            ).map((element) => element.outerHTML.slice(0, 100))"""
        )
