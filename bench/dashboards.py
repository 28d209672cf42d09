"""The dashboard of a project with all sample apps: its cost for servers and for a browser."""

import asyncio
import contextlib
import time
from collections.abc import Iterator

from playwright.sync_api import sync_playwright
from support.browsers import launch
from support.emitted import clean_environ, run
from support.servers import Redis
from websockets.asyncio.client import connect

from bench import workshop
from bench.contestants import ENVIRON, python
from bench.measure import Server, cpu_seconds, start_server
from bench.plan import Plan

LIMIT = 2  # % of a core, for the browser
FIGURES = """
from datetime import timedelta
from django.utils import timezone
from dashboard.events import FEED, KEPT, figures_event
from realtime.feeds.events import append
for second in range(KEPT, 0, -1):
    event = figures_event()
    event["at"] = (timezone.now() - timedelta(seconds=second)).isoformat()
    event["values"] = {name: (second * second) % (second + 7) for name in event["values"]}
    append(FEED, event)
"""


@contextlib.contextmanager
def served() -> Iterator[tuple[Server, Server]]:
    """Serve a project with Redis in two processes. The first one makes the figures. The last minutes are full."""
    project = workshop.bake("dashboards", auth="none", channel_layer="redis", examples="all")
    redis = Redis(workshop.BENCH)
    redis.start()
    with contextlib.ExitStack() as stack:
        stack.callback(redis.stop)
        environ = {
            **ENVIRON,
            "DEBUG": "true",  # a page in production needs HTTPS, and a known origin
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "REDIS_URL": f"{redis.url}/0",
            "REDIS_PREFIX": "bench",
            "LOG_LEVEL": "INFO",
            "DATABASE_URL": f"sqlite:///{project / 'db.sqlite3'}",
        }
        del environ["ALLOWED_ORIGINS"]
        for command in (["migrate"], ["shell", "--no-imports", "-c", FIGURES]):
            run([python(), "manage.py", *command], project, clean_environ(**environ))
        servers = []
        for number in range(2):
            log = workshop.BENCH / f"dashboards-{number}.log"
            command = [python(), "manage.py", "serve"]
            servers.append(stack.enter_context(start_server(command, project, environ, [], log)))
            deadline = time.monotonic() + 20
            while number == 0 and "produces" not in log.read_text():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield servers[0], servers[1]


async def watched(server: Server, viewers: int, seconds: float, producer: Server) -> tuple[float, float]:
    """Return the % of a core that both servers use, the producer first, while viewers watch at one of them."""
    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for _ in range(viewers):
            url = f"ws://127.0.0.1:{server.port}/ws/dashboard/"
            socket = await stack.enter_async_context(connect(url, proxy=None))
            tasks.append(asyncio.create_task(drain(socket)))
        await asyncio.sleep(2)
        before = [cpu_seconds(one.process.pid) for one in (producer, server)]
        await asyncio.sleep(seconds)
        after = [cpu_seconds(one.process.pid) for one in (producer, server)]
        for task in tasks:
            task.cancel()
    first, second = [100 * (end - start) / seconds for start, end in zip(before, after, strict=True)]
    return first, second


async def drain(socket) -> None:
    async for _ in socket:
        pass


def shown(server: Server, seconds: float) -> float:
    """Return the % of a core that a browser uses while it shows moving charts of five minutes."""
    with sync_playwright() as playwright, launch(playwright, "chromium") as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        session = browser.new_browser_cdp_session()
        page.goto(f"http://127.0.0.1:{server.port}/dashboard/")
        page.wait_for_timeout(5000)
        assert page.get_by_role("status").text_content() == "Live"
        before = processes(session)
        page.wait_for_timeout(1000 * seconds)
        return 100 * (processes(session) - before) / seconds


def processes(session) -> float:
    """Return the CPU seconds of all processes of a browser."""
    return sum(one["cpuTime"] for one in session.send("SystemInfo.getProcessInfo")["processInfo"])


def dashboards(plan: Plan) -> None:
    """Cost of the dashboard: of two hundred viewers for the process that makes the figures, and for a browser."""
    viewers, seconds = plan.people(200), plan.at_least(20)
    for _ in range(plan.rounds):
        with served() as (producer, other):
            alone, _ = asyncio.run(watched(other, 0, seconds, producer))
            busy, serving = asyncio.run(watched(other, viewers, seconds, producer))
            share = shown(other, seconds)
        print(f"  producer: {alone:.1f} % of a core without viewers, {busy:.1f} % with {viewers} at another process")
        each = 10_000 * serving / viewers  # µs, with an event each second
        print(f"  that process: {serving:.1f} % of a core, up to {each:.0f} µs for each event to a viewer")
        verdict = f"{'reached' if share < LIMIT else 'MISSED'}: under {LIMIT} %"
        print(f"  browser: {share:.2f} % of a core with moving charts of five minutes    {verdict}")
