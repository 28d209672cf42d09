"""Forecast of the machines that a site needs, and its comparison with measurements.

Measures the chat on uvicorn, Redis and PostgreSQL. Costs at one size predict other sizes, which are then measured.
"""

import itertools
import math
import time
from dataclasses import asdict, dataclass, replace

from bench import contestants as who
from bench.contestants import Contestant
from bench.measure import Server, cpu_seconds, measure, measure_memory, resident, start_load, wait_for
from bench.plan import Plan

ROOM = 50  # members of a room
SILENCE = 60  # seconds between two messages of a person
VISIT = 20 * 60  # seconds of a connection
BUSY = 0.5  # of a core, so that a failed machine can be replaced
CORES, MEMORY = 8, 16 * 1024  # per machine, in MiB

SIZES = (500, 2000, 6000)  # measured as a whole
PLANNED = (10_000, 100_000, 1_000_000)
STORED, RELAYED = 50, 1000  # messages per second while the cost of one is measured
UNITS = {
    "base": "MiB of a process",
    "connection": "KiB",
    "idle": "µs of CPU per second and connection",
    "redis_idle": "µs of CPU per second and connection",
}


@dataclass
class Costs:
    """Cost of one unit of each kind, CPU in microseconds."""

    base: float = 0  # MiB of a process without connections
    connection: float = 0  # KiB
    idle: float = 0  # per connection and second
    handshake: float = 0
    message: float = 0  # to accept and store it, and to broadcast it here
    delivery: float = 0  # per member
    relay: float = 0  # per further process with members
    redis_message: float = 0
    redis_relay: float = 0  # per further process
    redis_idle: float = 0  # per connection and second, because each is counted for its user
    database: float = 0

    def server(self, people: int, processes: int = 1) -> float:
        """Return the cores that all server processes need."""
        said = people / SILENCE
        others = spread(processes) - 1
        each = self.message + self.delivery * ROOM + self.relay * others
        return (said * each + people * self.idle + people / VISIT * self.handshake) / 1e6

    def redis(self, people: int, processes: int = 1) -> float:
        """Return the cores that Redis needs. Each Redis uses one."""
        each = self.redis_message + self.redis_relay * (spread(processes) - 1)
        return (people / SILENCE * each + people * self.redis_idle) / 1e6

    def memory(self, people: int, processes: int = 1) -> float:
        """Return the MiB of all server processes. If there are several, one more supervises them."""
        return (processes + (processes > 1)) * self.base + people * self.connection / 1024


def spread(processes: int) -> float:
    """Return the number of processes with members of a room, if a balancer spreads them evenly."""
    return processes * (1 - (1 - 1 / processes) ** ROOM)


def sizing(plan: Plan) -> None:
    """Machines for 10 000, 100 000 and 1 000 000 connections, and the accuracy of the forecast."""
    chat = who.ours(layer="redis", database="postgresql", chat=True)
    costs = measure_costs(plan, chat)
    print("\n  What it costs")
    for label, value in asdict(costs).items():
        print(f"  {label:16}{value:12.1f} {UNITS.get(label, 'µs of CPU')}")
    print(f"\n  Forecast / measured: rooms of {ROOM}, a message of each person every {SILENCE} s")
    print_row("people", "processes", "server cores", "Redis cores", "MiB")
    for processes, people in itertools.product((1, 2), [plan.people(SIZES[-1])] if plan.brief else SIZES):
        found = measure_site(with_processes(chat, processes), people, plan.at_least(10), plan.at_least(3))
        told = costs.server(people, processes), costs.redis(people, processes), costs.memory(people, processes)
        pairs = (f"{one:.{d}f} / {two:.{d}f}" for one, two, d in zip(told, found, (3, 4, 0), strict=True))
        print_row(f"{people:,}", processes, *pairs)
    print(f"\n  Machines of {CORES} cores and {MEMORY // 1024} GiB, busy to {BUSY:.0%}")
    print_row("people", "messages/s", "deliveries/s", "processes", "machines", "Redis shards", "PostgreSQL cores")
    for people in PLANNED:
        print_row(*needs(costs, people))
    print("\n  The same, where a balancer brings all of a room to one process")
    for people in PLANNED:
        print_row(*needs(replace(costs, relay=0, redis_relay=0), people))


def print_row(*cells: object) -> None:
    print("".join(f"{cell:>18}" for cell in cells))


def needs(costs: Costs, people: int) -> tuple[str | int, ...]:
    """Return the messages of this many people and the machines for them: at least two, so that one may fail."""
    said = people / SILENCE
    processes = needed_processes(costs, people)
    machines = max(2, math.ceil(processes / CORES), math.ceil(costs.memory(people, processes) / MEMORY / 0.8))
    shards = math.ceil(costs.redis(people, processes) / BUSY)
    rates = (f"{people:,}", f"{said:,.0f}", f"{said * ROOM:,.0f}")
    return *rates, processes, machines, shards, f"{said * costs.database / 1e6 / BUSY:.1f}"


def needed_processes(costs: Costs, people: int) -> int:
    """Return the fewest processes that are not too busy. Rooms span more processes if there are more."""
    return next(count for count in itertools.count(1) if costs.server(people, count) <= BUSY * count)


def with_processes(player: Contestant, count: int) -> Contestant:
    return replace(player, environ={**player.environ, "WEB_CONCURRENCY": str(count)})


def measure_costs(plan: Plan, chat: Contestant) -> Costs:
    """Derive message and delivery from two sizes of a room, and relay from one process and two."""
    costs, seconds, people = Costs(), plan.seconds, plan.people(2000)
    with chat.serve() as server:
        measure_memory(server, chat.join, plan.people(100), plan.at_least(1))
        costs.base = resident(server.process.pid) / 1024
        costs.connection = measure_memory(server, [*chat.join, "--rooms", "40"], people, plan.at_least(1)).memory
        costs.idle, costs.redis_idle = measure_idle(server, chat, people, plan.at_least(20), plan.at_least(3))
        small, _, costs.database = per_message(server, chat, 2, STORED, seconds)
        large, _, _ = per_message(server, chat, 2 * ROOM, STORED, seconds)
        costs.delivery = (large - small) / (2 * ROOM - 2)
        costs.message = small - 2 * costs.delivery
    relayed = who.ours(layer="redis")  # nothing is stored, which would cost far more than the relay
    with relayed.serve() as server:
        alone, costs.redis_message = per_message(server, relayed, 10, RELAYED, seconds)
    with with_processes(relayed, 2).serve() as server:
        both, redis = per_message(server, relayed, 10, RELAYED, seconds)
        costs.relay, costs.redis_relay = both - alone, redis - costs.redis_message
    signed_in = who.ours(layer="redis", auth="session")
    with signed_in.serve() as server:
        options = ["--connections", "16", "--rooms", "16", "--handshakes", "--seconds", str(seconds)]
        result = measure(server, [*signed_in.join, *options, "--warmup", "1"])
        costs.handshake = result.server_micros("opened")
    return costs


def measure_idle(server: Server, chat: Contestant, people: int, seconds: float, settle: float) -> list[float]:
    """Return the microseconds of the server and of Redis per second and connection with pings only."""
    processes = (server.process.pid, server.services[0])
    options = [*chat.join, "--connections", str(people), "--rooms", str(max(1, people // ROOM)), "--hold"]
    with start_load(server, options) as load:
        wait_for(load, "open")
        time.sleep(settle)
        before = [cpu_seconds(process) for process in processes]
        time.sleep(seconds)
        after = [cpu_seconds(process) for process in processes]
    return [(late - early) * 1e6 / people / seconds for late, early in zip(after, before, strict=True)]


def per_message(server: Server, player: Contestant, members: int, rate: int, seconds: float) -> list[float]:
    """Return the microseconds of the server and each service per message in a room whose members take turns."""
    speak = [*player.dialect.say, "--connections", str(members), "--senders", str(members), "--rate", str(rate)]
    result = measure(server, [*player.join, *speak, "--seconds", str(seconds), "--warmup", "1"])
    return [cpu * 1e6 / result.load["sent"] for cpu in (result.server_cpu, *result.services)]


def measure_site(chat: Contestant, people: int, seconds: float, warmup: float) -> tuple[float, float, float]:
    """Return cores of the server and of Redis, and MiB of the server, while this many people chat."""
    rate = max(people / SILENCE, 10 / seconds)  # at least ten messages
    speak = ["--senders", str(people), "--rate", f"{rate:.2f}", "--rooms", str(max(1, people // ROOM))]
    options = [*chat.join, *chat.dialect.say, *speak, "--connections", str(people), "--seconds", str(seconds)]
    with chat.serve() as server:
        result = measure(server, [*options, "--warmup", str(warmup)])
        memory = resident(server.process.pid) / 1024
        return result.server_cpu / result.load["seconds"], result.services[0] / result.load["seconds"], memory
