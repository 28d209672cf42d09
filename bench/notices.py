"""Notifications of a project with all sample apps, from another process than its server."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from support.emitted import clean_environ, run
from support.matrix import CHOICES
from support.servers import Postgres, Redis
from websockets.asyncio.client import connect

from bench import workshop
from bench.contestants import ENVIRON, python, sign_in
from bench.measure import Server, start_server
from bench.plan import Plan

LIMIT = 200  # ms for 95 of 100


@dataclass
class Site:
    """A served project with its users' cookies, and the environment of its other processes."""

    server: Server
    cookies: list[str]
    environ: dict[str, str]


@contextlib.contextmanager
def served(database: str, people: int) -> Iterator[Site]:
    """Serve a project with all sample apps, with Redis and this database."""
    project = workshop.bake(
        f"notices-{database}", auth="session", channel_layer="redis", database=database, examples="all"
    )
    with contextlib.ExitStack() as stack:
        services = [Redis(workshop.BENCH), *([Postgres()] if database == "postgresql" else [])]
        for service in services:
            service.start()
            stack.callback(service.stop)
        environ = {**ENVIRON, "DJANGO_SETTINGS_MODULE": "config.settings"}
        environ |= {
            "REDIS_URL": f"{services[0].url}/0",
            "REDIS_PREFIX": "bench",
            "DATABASE_URL": f"sqlite:///{project / 'db.sqlite3'}",
        }
        if database == "postgresql":
            environ["DATABASE_URL"] = services[1].new_database()
        run([python(), "manage.py", "collectstatic", "--no-input"], project, clean_environ(**environ))
        cookies = sign_in(f"notices-{database}", people, project, environ).read_text().splitlines()
        command, log = [python(), "manage.py", "serve"], workshop.BENCH / f"notices-{database}.log"
        pids = [service.process.pid for service in services]
        server = stack.enter_context(start_server(command, project, environ, pids, log))
        yield Site(server, cookies, clean_environ(**environ, PYTHONPATH=str(project)))


async def delays(site: Site, count: int, rate: int, many: int) -> tuple[list[float], dict[str, float]]:
    """Return the milliseconds from each notification until its user's page has it, and the cost of many at once."""
    measured: list[float] = []

    async def receive(socket) -> None:
        async for frame in socket:
            event = json.loads(frame)
            if event["type"] == "notification":
                measured.append(1000 * (time.time() - float(event["text"])))

    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for cookie in site.cookies:
            url = f"ws://127.0.0.1:{site.server.port}/ws/notifications/"
            socket = await stack.enter_async_context(connect(url, additional_headers={"Cookie": cookie}, proxy=None))
            assert json.loads(await socket.recv())["type"] == "welcome"
            tasks.append(asyncio.create_task(receive(socket)))
        program = [python(), str(workshop.HERE / "notifying.py"), *map(str, (count, rate, many))]
        output = await asyncio.to_thread(run, program, workshop.HERE, site.environ)
        async with asyncio.timeout(10):
            while len(measured) < count:
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
    return sorted(measured), json.loads(output.splitlines()[-1])


def notices(plan: Plan) -> None:
    """Delay from a command in another process to an open page, on Redis, and 10,000 notifications by one call."""
    people, count, many = plan.people(100), plan.people(400), plan.people(1000)
    for database in CHOICES["database"]:
        for _ in range(plan.rounds):
            with served(database, people) as site:
                found, call = asyncio.run(delays(site, count, 20, many))
            middle, high = found[len(found) // 2], found[len(found) * 95 // 100]
            verdict = f"{'reached' if high < LIMIT else 'MISSED'}: under {LIMIT} ms"
            print(f"  {database}: p50 {middle:.1f} ms, p95 {high:.1f} ms of {len(found)}    {verdict}")
            once = f"{call['sent']:,} to {many:,} users in {call['seconds']:.2f} s and {call['queries']} queries"
            print(f"  {database}: {once}")
