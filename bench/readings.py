"""Simulated devices of a project with all sample apps, through a real broker to an open page."""

import asyncio
import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.emitted import clean_environ, run
from support.matrix import CHOICES
from support.servers import Broker, Postgres, Redis, end_group
from websockets.asyncio.client import connect

from bench import workshop
from bench.contestants import ENVIRON, python
from bench.measure import Server, cpu_seconds, start_server
from bench.plan import Plan

LIMIT = 500  # ms for 95 of 100
START_SECONDS = 5  # in which 1,000 devices connect and are created
# Prints the readings of each device in their order: value and time.
READINGS = """
import json; from devices.models import Reading
found = {}
for name, value, at in Reading.objects.order_by("seq").values_list("device__name", "value", "at"):
    found.setdefault(name, []).append((value, at.timestamp()))
print(json.dumps(found))
"""


@dataclass
class Site:
    """A served project, with the environment and the log of its other processes, and the pids of all by their names."""

    project: Path
    server: Server
    environ: dict[str, str]
    pids: dict[str, int]


@contextlib.contextmanager
def served(database: str) -> Iterator[Site]:
    """Serve a project with Redis, this database, a broker and a bridge."""
    project = workshop.bake(
        f"readings-{database}", auth="none", channel_layer="redis", database=database, examples="all"
    )
    folder = workshop.BENCH / f"readings-{database}"
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        services = {"redis": Redis(folder), "broker": Broker(folder)}
        if database == "postgresql":
            services["postgresql"] = Postgres()
        for service in services.values():
            service.start()
            stack.callback(service.stop)
        environ = {
            **ENVIRON,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "REDIS_URL": f"{services['redis'].url}/0",
            "REDIS_PREFIX": "bench",
            "MQTT_URL": services["broker"].url,
            "DATABASE_URL": f"sqlite:///{project / 'db.sqlite3'}",
        }
        if database == "postgresql":
            environ["DATABASE_URL"] = services["postgresql"].new_database()
        others = clean_environ(**environ)
        for command in (["collectstatic", "--no-input"], ["migrate", "--verbosity", "0"]):
            run([python(), "manage.py", *command], project, others)
        server = stack.enter_context(
            start_server([python(), "manage.py", "serve"], project, environ, [], folder / "server.log")
        )
        bridge = stack.enter_context(started(project, others, folder / "bridge.log", "bridge_devices"))
        pids = {"bridge": bridge.pid, "site": server.process.pid}
        yield Site(project, server, others, pids | {name: one.process.pid for name, one in services.items()})


@contextlib.contextmanager
def started(project: Path, environ: dict[str, str], log: Path, *command: str) -> Iterator[subprocess.Popen]:
    """Run a command of the project until the end of the block."""
    with log.open("wb") as output:
        options = {"cwd": project, "env": environ, "stdout": output, "stderr": output, "start_new_session": True}
        process = subprocess.Popen([python(), "manage.py", *command], **options)
    try:
        yield process
    finally:
        end_group(process)


async def watch(site: Site, devices: int, seconds: int) -> tuple[dict[str, list], dict[str, float], str]:
    """Return what a page of the list got, the CPU seconds of each process, and the report of the devices."""
    arrived: dict[str, list[tuple[float, float]]] = {}

    async def receive(socket) -> None:
        async for frame in socket:
            for name, value in json.loads(frame).get("values", {}).items():
                arrived.setdefault(name, []).append((value, time.time()))

    log = workshop.BENCH / "devices.log"
    options = ["--count", str(devices), "--seconds", str(seconds)]
    async with connect(f"ws://127.0.0.1:{site.server.port}/ws/devices/", proxy=None) as socket:
        task = asyncio.create_task(receive(socket))
        before = {name: cpu_seconds(pid) for name, pid in site.pids.items()}
        with started(site.project, site.environ, log, "simulate_devices", *options) as process:
            while process.poll() is None:
                await asyncio.sleep(0.2)
        spent = {name: cpu_seconds(pid) - before[name] for name, pid in site.pids.items()}
        task.cancel()
    return arrived, spent, log.read_text()


def delays(arrived: dict[str, list], stored: dict[str, list], wait: float) -> list[float]:
    """Return the milliseconds from each reading until the page had it, sorted, without those of the first seconds."""
    start = min(at for readings in stored.values() for _, at in readings) + wait
    found = []
    for name, events in arrived.items():
        readings = iter(stored[name])
        for value, at in events:  # a batch may have merged readings of a device
            measured_at = next(measured_at for other, measured_at in readings if other == value)
            if measured_at >= start:
                found.append(1000 * (at - measured_at))
    return sorted(found)


def readings(plan: Plan) -> None:
    """Delay of a reading each second of 1,000 devices until an open list has it, and its CPU time."""
    devices, seconds = plan.people(1000), round(plan.at_least(20)) or 2
    for database in CHOICES["database"]:
        for _ in range(plan.rounds):
            with served(database) as site:
                arrived, spent, report = asyncio.run(watch(site, devices, seconds))
                stored = json.loads(
                    run([python(), "manage.py", "shell", "-v", "0", "-c", READINGS], site.project, site.environ)
                )
            total, lost = map(int, re.search(r"Readings: (\d+). Not stored: (\d+).", report).groups())
            assert sum(map(len, stored.values())) == total - lost, "a reading is missing, or stored twice"
            found = delays(arrived, stored, 0 if plan.brief else START_SECONDS)
            middle, high = found[len(found) // 2], found[len(found) * 95 // 100]
            verdict = f"{'reached' if high < LIMIT and not lost else 'MISSED'}: under {LIMIT} ms, none lost"
            rate = f"{total:,} readings of {devices:,} devices in {seconds} s, {lost} lost"
            print(f"  {database}: {rate}; p50 {middle:.0f} ms, p95 {high:.0f} ms    {verdict}")
            costs = ", ".join(f"{name} {1e6 * cpu / total:.0f}" for name, cpu in spent.items())
            print(f"  {database}: µs of CPU time for each reading: {costs}")
