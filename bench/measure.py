"""Server on one core and load on another, and the measurement of both."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.emitted import clean_environ
from support.matrix import TEMPLATE
from support.servers import end_group, free_port, listens, wait_until

from bench.workshop import load_client

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SERVER_CORE, LOAD_CORE = (sorted(os.sched_getaffinity(0)) * 2)[:2]


class Failed(Exception):
    """A measurement without a result, and the reason."""


@dataclass
class Result:
    """One measurement; `load` is the report of the load."""

    load: dict[str, float]
    server_cpu: float  # seconds
    services: list[float]  # Redis and PostgreSQL, which share the load's core
    others_cpu: float = 0  # programs that do not belong to the benchmark
    memory: float = 0  # KiB per connection

    def per_second(self, what: str) -> float:
        return self.load[what] / self.load["seconds"]

    def server_micros(self, what: str) -> float:
        """Return the server's CPU time per event in microseconds. Less than a tick of the clock is not measured."""
        return 1e6 * max(self.server_cpu, 1 / TICKS) / max(1, self.load[what])

    @property
    def server_share(self) -> float:
        """Return the used part of the server's core. It is below 1 if the server waited or others used the core."""
        return self.server_cpu / self.load["seconds"]

    @property
    def others_share(self) -> float:
        """Return the part of a core that other programs used."""
        return self.others_cpu / self.load["seconds"]

    @property
    def load_share(self) -> float:
        """Return the used part of the load's core, services included."""
        return (self.load["cpu"] + sum(self.services)) / self.load["seconds"]


@dataclass
class Server:
    """A running server and the services behind it."""

    process: subprocess.Popen
    port: int
    services: list[int]  # process ids


def family(pid: int) -> Iterator[list[str]]:
    """Return the fields of /proc/<pid>/stat behind the name, for a process, its children and its group."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            if str(pid) in (entry.parent.name, fields[1], fields[2]):
                yield fields


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its family."""
    return sum(int(fields[11]) + int(fields[12]) for fields in family(pid)) / TICKS


def resident(pid: int) -> float:
    """Return the memory of a process and its family, in KiB."""
    return sum(int(fields[21]) for fields in family(pid)) * PAGE / 1024


def busy_seconds() -> float:
    """Return the CPU time of all programs of this machine on our two cores."""
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ours = (f"cpu{SERVER_CORE}", f"cpu{LOAD_CORE}")
    return sum(sum(map(int, [*line[1:4], *line[6:9]])) for line in lines if line[0] in ours) / TICKS


def pin(core: int) -> None:
    """Pin this process, and those that it starts later, to one core."""
    os.sched_setaffinity(0, {core})


@contextlib.contextmanager
def start_server(
    command: list[str], folder: Path, environ: dict[str, str], services: list[int], log: Path
) -> Iterator[Server]:
    """Run a server on a core of its own until the block ends. A free port replaces {port}."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in command],
            cwd=folder,
            env=clean_environ(**environ, HOST="127.0.0.1", PORT=str(port)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: pin(SERVER_CORE),
        )
    try:
        wait_until(lambda: process.poll() is not None or listens(port), f"{command} listens; its log is {log}")
        if process.poll() is not None:
            raise Failed(f"the server ended with {process.returncode}; its log is {log.relative_to(TEMPLATE)}")
        time.sleep(0.2)
        yield Server(process, port, services)
    finally:
        end_group(process)


@contextlib.contextmanager
def start_load(server: Server, options: list[str]) -> Iterator[subprocess.Popen]:
    """Run the load client until the block ends."""
    process = subprocess.Popen(
        [str(load_client()), "--port", str(server.port), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(load: subprocess.Popen, word: str) -> str:
    """Return the load's next line with this beginning. Raise Failed with its complaint if there is none."""
    for line in load.stdout:
        if line.startswith(word):
            return line
    raise Failed(load.stderr.read().strip() or "the load ended")


def measure(server: Server, options: list[str]) -> Result:
    """Return the load's report, and the CPU time of the server, its services and all others meanwhile."""

    def used() -> list[float]:
        return [busy_seconds(), cpu_seconds(server.process.pid), *map(cpu_seconds, server.services)]

    with start_load(server, options) as load:
        wait_for(load, "begin")
        before = used()
        wait_for(load, "end")
        busy, server_cpu, *services = (late - early for late, early in zip(used(), before, strict=True))
        said = json.loads(wait_for(load, "{"))
        return Result(said, server_cpu, services, max(0, busy - server_cpu - sum(services) - said["cpu"]))


def measure_memory(server: Server, options: list[str], connections: int, settle: float = 1) -> Result:
    """Return the growth of the server's memory with idle connections.

    Opens one connection first, so that modules, pools and threads do not count.
    """
    for count in (min(100, connections), connections):
        before = resident(server.process.pid)
        with start_load(server, [*options, "--connections", str(count), "--hold"]) as load:
            wait_for(load, "open")
            time.sleep(1.5 * settle)
            grown = resident(server.process.pid) - before
        time.sleep(settle)
    return Result({"seconds": 1, "cpu": 0}, 0, [], memory=grown / connections)


def measure_return(server: Server, talk: list[str], back: list[str]) -> Result:
    """Return the time until all connections of `back` are open while others talk, and the CPU time of the server."""
    with start_load(server, talk) as talking:
        wait_for(talking, "begin")
        before = cpu_seconds(server.process.pid)
        with start_load(server, back) as load:
            seconds = float(wait_for(load, "open").split()[1])
            used = cpu_seconds(server.process.pid) - before
            load_cpu = cpu_seconds(load.pid) + cpu_seconds(talking.pid)
    count = float(back[back.index("--connections") + 1])
    return Result({"seconds": seconds, "opened": count, "cpu": load_cpu}, used, [])
