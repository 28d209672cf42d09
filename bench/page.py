"""Time until the room's page shows messages, in a real browser."""

import tempfile
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from playwright.sync_api import Browser, sync_playwright
from support.browsers import launch, prepare_demo, seed
from support.client import Person
from support.emitted import run

import demo
from bench.measure import Result, start_server
from bench.report import Ratio, Table, Unit
from bench.workshop import BENCH

MESSAGES = 2000
ROOM, LOGIN = "a room's first message", "the login, without a script"
PATHS = {ROOM: "/chat/benchmark/", LOGIN: "/accounts/login/"}
FIGURES = {
    "ms": ("ms until the first message is painted", 1000),
    "bytes": ("bytes of the page and its files, not compressed", 60_000),
    "scripting": (f"ms of scripts until {MESSAGES:,} messages are there", 200),
    "layout": ("ms of layout and styles meanwhile", None),
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


def visit(browser: Browser, site: SimpleNamespace, cookies: dict[str, str], path: str) -> Result:
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
        tab.evaluate(READ_BACK)
        metrics = {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}
        figures["scripting"] = 1000 * metrics["ScriptDuration"]
        figures["layout"] = 1000 * (metrics["LayoutDuration"] + metrics["RecalcStyleDuration"])
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
            cookies = {ROOM: dict(Person(site, "session").http.cookies), LOGIN: {}}
            visit(browser, site, cookies[ROOM], PATHS[ROOM])  # costs of the first page only
            for _ in range(plan.rounds):
                for case, path in PATHS.items():
                    table.results["cold cache", case].append(visit(browser, site, cookies[case], path))
    rooms = table.results["cold cache", ROOM]
    for figure, (label, limit) in FIGURES.items():
        values = [result.load[figure] for result in rooms]
        verdict = f"{'reached' if median(values) < limit else 'MISSED'}: under {limit:,}" if limit else ""
        print(f"  {median(values):10,.0f} ({min(values):,.0f} to {max(values):,.0f})  {label:50} {verdict}".rstrip())
    table.print_ratio(Ratio(f"{ROOM} / {LOGIN}", ("cold cache", ROOM), [("cold cache", LOGIN)], at_most=True))
    table.print_rows()
