"""Time until the room's page shows messages, in a real browser, and its longest task while they are many."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from playwright.sync_api import Browser, Page, sync_playwright
from support.browsers import launch, prepare_demo, seed
from support.client import Person, receive, send
from support.emitted import run

import demo
from bench.measure import Result, start_server
from bench.report import Ratio, Table, Unit
from bench.workshop import BENCH

MESSAGES = 2000
WRITERS, BURST = 10, 20  # messages that arrive at once
ROOM, LOGIN = "a room's first message", "the login, without a script"
PATHS = {ROOM: "/chat/benchmark/", LOGIN: "/accounts/login/"}
FIGURES = {
    "ms": ("ms until the first message is painted", 1000),
    "bytes": ("bytes of the page and its files, not compressed", None),
    "scripting": (f"ms of scripts until {MESSAGES:,} messages are there", 200),
    "layout": ("ms of layout and styles meanwhile", None),
    "scrolling": (f"ms of the longest task while {MESSAGES:,} are scrolled through", 50),
    "arrival": (f"ms of the longest task while {WRITERS * BURST} arrive below {MESSAGES:,}", 50),
}

# After the frame in which the first content is there.
PAINTED = """window.painted = new Promise((resolve) => requestAnimationFrame(function look() {
  if (document.querySelector("li.message, input[name=username]")) setTimeout(() => resolve(performance.now()));
  else requestAnimationFrame(look);
}))"""
READ_BACK = """new Promise((resolve) => {
  const observer = new MutationObserver(readOn);
  function readOn() {
    const oldest = document.querySelector("li.message");
    if (oldest.dataset.seq === "1") resolve(observer.disconnect());
    else oldest.scrollIntoView();
  }
  observer.observe(document.querySelector("[role=log]"), { childList: true, subtree: true });
  readOn();
})"""


@contextmanager
def longest_task(browser: Browser, tab: Page) -> Iterator[list[float]]:
    """Fill a list with the milliseconds of the longest task of a page's main thread until the block ends."""
    found: list[float] = []
    browser.start_tracing(page=tab, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    yield found
    tab.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")  # until it is painted
    events = json.loads(browser.stop_tracing())["traceEvents"]
    main = {(one["pid"], one["tid"]) for one in events if one.get("args", {}).get("name") == "CrRendererMain"}
    # CPU time, independent of other programs.
    found.append(max(one.get("tdur", 0) for one in events if (one["pid"], one["tid"]) in main) / 1000)


def send_many(tab: Page, writers: Sequence[Person]) -> None:
    """Let each writer send a burst of messages. Wait until the page shows all."""
    last = int(tab.locator("li.message").last.get_attribute("data-seq")) + len(writers) * BURST
    for writer in writers:
        refs = [f"{writer.name} {last} {number}" for number in range(BURST)]
        with writer.connect("benchmark") as connection:
            receive(connection)
            for ref in refs:
                send(connection, type="send", ref=ref, text="Hello")
            while receive(connection).get("ref") != refs[-1]:
                pass
    tab.locator(f"li.message[data-seq='{last}']").wait_for()


def visit(
    browser: Browser, site: SimpleNamespace, cookies: dict[str, str], path: str, writers: Sequence[Person] = ()
) -> Result:
    """Open a page with an empty cache. Return the times and bytes of the page, and in a room of all messages."""
    context = browser.new_context()
    context.add_cookies([{"name": name, "value": value, "url": site.url} for name, value in cookies.items()])
    context.add_init_script(PAINTED)
    tab = context.new_page()
    devtools = context.new_cdp_session(tab)
    sizes: list[float] = []
    devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    devtools.send("Network.enable")
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})  # CPU time, independent of other programs
    tab.goto(site.url + path)
    figures = {"seconds": 1, "cpu": 0, "ms": tab.evaluate("painted"), "bytes": sum(sizes)}
    if "/chat/" in path:
        with longest_task(browser, tab) as scrolling:
            tab.evaluate(READ_BACK)
        metrics = {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}
        figures["scripting"] = 1000 * metrics["ScriptDuration"]
        figures["layout"] = 1000 * (metrics["LayoutDuration"] + metrics["RecalcStyleDuration"])
        tab.evaluate("document.querySelector('[role=log]').scrollTo(0, 0)")  # to the newest
        with longest_task(browser, tab) as arrival:
            send_many(tab, writers)
        figures.update(scrolling=scrolling[0], arrival=arrival[0])
    context.close()
    return Result(figures, 0, [])


def page(plan) -> None:
    """Time until a room shows a message with an empty cache, and cost of 2 000; the browser has one core."""
    table = Table(Unit("ms", lambda result: result.load["ms"]))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command, environ = prepare_demo(Path(folder))
        run([command[0], "manage.py", *seed("benchmark", MESSAGES)], demo.PROJECT, environ)
        with (
            start_server(command, demo.PROJECT, environ, [], BENCH / "page.log") as server,
            launch(playwright, "chromium") as browser,
        ):
            site = SimpleNamespace(url=f"http://127.0.0.1:{server.port}", port=server.port, tls=None)
            writers = [Person(site, "session") for _ in range(WRITERS)]
            cookies = {ROOM: dict(Person(site, "session").http.cookies), LOGIN: {}}
            visit(browser, site, cookies[ROOM], PATHS[ROOM], writers)  # costs of the first page only
            for _ in range(plan.rounds):
                for case, path in PATHS.items():
                    table.results["cold cache", case].append(visit(browser, site, cookies[case], path, writers))
    rooms = table.results["cold cache", ROOM]
    for figure, (label, limit) in FIGURES.items():
        values = [result.load[figure] for result in rooms]
        verdict = f"{'reached' if median(values) < limit else 'MISSED'}: under {limit:,}" if limit else ""
        print(f"  {median(values):10,.0f} ({min(values):,.0f} to {max(values):,.0f})  {label:50} {verdict}".rstrip())
    table.print_ratio(Ratio(f"{ROOM} / {LOGIN}", ("cold cache", ROOM), [("cold cache", LOGIN)], at_most=True))
    table.print_rows()
