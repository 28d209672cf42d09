"""Scenarios of the benchmark: each function plays its rounds and prints the ratios, then the figures."""

from dataclasses import replace
from statistics import median

from support.matrix import CHOICES, complete

from bench import contestants as who
from bench.contestants import Contestant, event
from bench.dashboards import dashboards
from bench.measure import Failed, Result, Server, measure_memory, measure_return
from bench.notices import notices
from bench.page import page
from bench.plan import Options, Plan
from bench.readings import readings
from bench.report import Ratio, Table, Unit
from bench.sizing import sizing

SERVERS = CHOICES["server"]
# required ratio to the tutorial's fan-out, in the large room
FANOUT_LIMITS = complete("server", {"uvicorn": 20, "daphne": 5, "hypercorn": 11})
WINDOW = 4  # events in flight per room, so that a server is never idle
PAIRS = 50  # connections, each with its own room
SELDOM = 50  # messages per second, each stored alone
IDLE = 1000
BEAT = 5  # seconds
# required ratio of our handshakes to those of others on the same server
HANDSHAKE_LIMITS = {"tutorial, session": 3.5, "FastAPI": 0.75}
HANDSHAKE_LIMITS |= {f"tutorial, {server}, session": 2.5 for server in SERVERS[1:]}

DELIVERIES = Unit("deliveries/s", lambda result: result.per_second("received"), "received")
ROUND_TRIPS = Unit("round trips/s", lambda result: result.per_second("received"), "received")
STORED = Unit("stored messages/s", lambda result: result.per_second("acknowledged"), "acknowledged")
STORING_TIME = Unit("server, µs for each message", lambda result: result.server_micros("sent"), "sent")
HANDSHAKES = Unit("handshakes/s", lambda result: result.per_second("opened"), "opened")
JOINING_TIME = Unit("server, µs for each join", lambda result: result.server_micros("opened"), "opened")
RETURN_TIME = Unit("seconds", lambda result: result.load["seconds"], "opened", 2)
SERVER_TIME = Unit("server, µs for each delivery", lambda result: result.server_micros("received"), "received", 1)
MEMORY = Unit("KiB for each connection", lambda result: result.memory, decimals=1)
P50 = Unit("p50 in ms", lambda result: result.load["p50"], "received", 2)
P99 = Unit("p99 in ms", lambda result: result.load["p99"], "received", 2)
LOST = Unit("lost", lambda result: result.load["lost"], "received")


def room(members: int, window: int = WINDOW) -> Options:
    """Let one member of one room send."""
    return lambda player: [*player.dialect.say, "--connections", str(members), "--window", str(window)]


def steady(members: int, senders: int, rate: float) -> Options:
    """Let some members of one room send in turn, at a fixed rate that does not wait for answers."""
    options = ["--connections", str(members), "--senders", str(senders), "--rate", f"{rate:.1f}"]
    return lambda player: [*player.dialect.say, *options]


def rooms_of_one(player: Contestant) -> list[str]:
    """Let everyone send in their own room."""
    return [*player.dialect.say, "--connections", str(PAIRS), "--rooms", str(PAIRS), "--window", "1"]


def echo(player: Contestant) -> list[str]:
    """Let everyone get an answer, through their own room if a contestant has no shorter way."""
    return [*rooms_of_one(player), *player.dialect.echo]


def fanout(plan: Plan) -> None:
    """Deliveries per second in a room with one sender."""
    few, many = plan.people(100), plan.people(500)
    small, large = f"room of {few}", f"room of {many}"
    table = Table(DELIVERIES)
    redis = [who.ours(layer="redis"), who.tutorial(layer="core"), who.tutorial(layer="pubsub")]
    sync = [who.ours(consumers="sync"), who.tutorial(consumers="sync")]
    peers = [
        who.python_socketio(),
        who.python_socketio(redis=True),
        who.fastapi(),
        who.websockets(),
        *who.node_ws(),
        *who.node_socketio(),
        *who.node_socketio(redis=True),
        who.floor(),
    ]
    others = [maker(server=server) for server in SERVERS[1:] for maker in (who.ours, who.tutorial)]
    for _ in range(plan.rounds):
        once = replace(plan, rounds=1)
        once.play(table, [who.ours(), who.tutorial(), *redis, *peers], {small: room(few), large: room(many)})
        once.play(table, [*others, *sync], {large: room(many)})

    def against(label: str, ours: str, others: list[str], case: str, limit: float | None = None) -> None:
        table.print_ratio(Ratio(f"{case}: {label}", (case, ours), [(case, other) for other in others], limit))

    for case, in_memory, on_redis in ((small, 11, 7), (large, FANOUT_LIMITS[SERVERS[0]], 12)):
        against("ours / tutorial", "ours", ["tutorial"], case, in_memory)
        layers = ["tutorial, core", "tutorial, pubsub"]
        against("ours / tutorial on its faster layer, Redis", "ours, redis", layers, case, on_redis)
        against("ours / python-socketio", "ours", ["python-socketio"], case, 2.5)
        against("ours / python-socketio, Redis", "ours, redis", ["python-socketio, redis"], case, 2.5)
        against("ours / FastAPI", "ours", ["FastAPI"], case, 0.9)
        against("ours / websockets", "ours", ["websockets"], case)
        against("ours / Node ws", "ours", ["Node ws"], case)
        against("ours / Socket.IO", "ours", ["Socket.IO"], case)
        against("ours / Socket.IO, Redis", "ours, redis", ["Socket.IO, redis"], case)
        against("ours / floor", "ours", ["floor"], case)
    for server in SERVERS[1:]:
        limit = FANOUT_LIMITS[server]
        against(f"ours / tutorial, {server}", f"ours, {server}", [f"tutorial, {server}"], large, limit)
    against("ours / tutorial, sync", "ours, sync", ["tutorial, sync"], large, 25)
    against("ours, sync / ours, async", "ours, sync", ["ours"], large)
    table.print_rows()


def growth(plan: Plan) -> None:
    """Server time per delivery as the room grows."""
    table = Table(SERVER_TIME)
    players = [who.ours(), who.ours(layer="redis"), *who.node_ws()]
    # One event after the other: several in flight would make small rooms cheaper.
    sizes = [plan.people(size) for size in (10, 100, 500, 1000)]
    plan.play(table, players, {f"room of {size}": room(size, window=1) for size in sizes})
    small, large = f"room of {sizes[1]}", f"room of {sizes[-1]}"
    for player in players:
        label = f"{player.name}: {large} / {small}"
        limit = 1.3 if player.name.startswith("ours") else None
        key = (large, player.name)
        table.print_ratio(Ratio(label, key, [(small, player.name)], limit, at_most=True))
    table.print_rows([SERVER_TIME, DELIVERIES])


def echoes(plan: Plan) -> None:
    """Round trips between a client and the server: ping and pong, or through a room of one."""
    case = f"{PAIRS} connections"
    table = Table(ROUND_TRIPS)
    players = [who.ours(), who.tutorial(), who.fastapi(), who.websockets(), who.python_socketio()]
    players += [*who.node_ws(), *who.node_socketio()]
    plan.play(table, players, {case: echo})
    for player in players[1:]:
        limit = 4 if player.name == "tutorial" else None
        table.print_ratio(Ratio(f"ours / {player.name}", (case, "ours"), [(case, player.name)], limit))
    table.print_rows()


def room_of_one(plan: Plan) -> None:
    """Round trips of a broadcast that is not stored, with one room per connection."""
    case = f"{PAIRS} rooms of one"
    table = Table(ROUND_TRIPS)
    memory = [who.ours(), who.tutorial(), who.python_socketio(), *who.node_socketio()]
    redis = [who.ours(layer="redis"), who.tutorial(layer="core"), who.tutorial(layer="pubsub")]
    redis += [who.python_socketio(redis=True), *who.node_socketio(redis=True)]
    plan.play(table, [*memory, *redis], {case: rooms_of_one})
    for ours, others, limit in (
        ("ours", ["tutorial"], 2.5),
        ("ours", ["python-socketio"], None),
        ("ours", ["Socket.IO"], None),
        ("ours, redis", ["tutorial, core", "tutorial, pubsub"], 2.5),
        ("ours, redis", ["python-socketio, redis"], None),
        ("ours, redis", ["Socket.IO, redis"], None),
    ):
        label = f"{ours} / {' or '.join(others)}"
        table.print_ratio(Ratio(label, (case, ours), [(case, other) for other in others], limit))
    table.print_rows()


def memory(plan: Plan) -> None:
    """Memory of an idle connection, signed in and joined."""
    idle = plan.people(IDLE)
    case = f"{idle} connections in 10 rooms"
    table = Table(MEMORY)
    players = [
        player
        for server in SERVERS
        for player in (
            who.ours(server, auth="session"),
            who.tutorial(server, auth="session"),
            who.tutorial(server),
        )
    ]
    settle = plan.at_least(1)
    plan.play(table, players, {case: lambda _: ["--rooms", "10"]}, lambda *_: measure_memory(*_, idle, settle))
    for ours, tutorial, plain in zip(players[::3], players[1::3], players[2::3], strict=True):
        for other in (tutorial, plain):
            limit = 1.1 if other is tutorial else None
            ratio = Ratio(f"{ours.name} / {other.name}", (case, ours.name), [(case, other.name)], limit, at_most=True)
            table.print_ratio(ratio)
    table.print_rows()


def handshakes(plan: Plan) -> None:
    """Connections that are opened, joined and closed again, with the cookie of a session. Peers read none."""
    case = "16 at a time"
    options = ["--connections", "16", "--rooms", "16", "--handshakes"]
    table = Table(HANDSHAKES)
    pairs = [(who.ours(server, auth="session"), who.tutorial(server, auth="session")) for server in SERVERS]
    peers = [who.fastapi(), who.python_socketio()]
    plan.play(table, [*(player for pair in pairs for player in pair), *peers], {case: lambda _: options})
    for ours, other in (*pairs, *((pairs[0][0], peer) for peer in peers)):
        limit = HANDSHAKE_LIMITS.get(other.name)
        table.print_ratio(Ratio(f"{ours.name} / {other.name}", (case, ours.name), [(case, other.name)], limit))
    table.print_rows()

    table, case = Table(JOINING_TIME), "16 at a time, 50 messages each"
    plan.play(table, [talking(16)], {case: lambda _: [*who.RETURN, *options]})
    table.print_rows([JOINING_TIME, HANDSHAKES])


def talking(rooms: int) -> Contestant:
    """Return a chat in which each room has messages."""
    return who.ours(chat=True, layer="redis", database="postgresql", auth="session", talk_rooms=rooms)


def returning(plan: Plan) -> None:
    """Time until all have what was written meanwhile, when they come back at once to a server that has just started."""
    people, rate = plan.people(2000), 50
    rooms = max(1, people // 50)
    player = talking(rooms)
    table, case = Table(RETURN_TIME), f"{people:,} people in {rooms} rooms"
    speak = [*player.dialect.say, "--connections", str(rooms), "--senders", str(rooms), "--rate", str(rate)]
    talk = [*speak, "--rooms", str(rooms), "--seconds", "60"]
    back = [*who.RETURN, "--connections", str(people), "--rooms", str(rooms), "--at-once", str(people)]

    def measure(server: Server, options: list[str]) -> Result:
        return measure_return(server, [*options, *talk], [*options, *back])

    plan.play(table, [player], {case: lambda _: []}, measure)
    table.print_rows()


def highest(plan: Plan, player: Contestant, members: int) -> float:
    """Return the most events per second that a room of this size handles. Raise Failed without a measurement."""
    table = Table(DELIVERIES)
    plan.play(table, [player], {"highest": room(members)})
    if table.failures:
        raise Failed("; ".join(table.failures.values()))
    return median(table.values(("highest", player.name))) / members


def latency(plan: Plan) -> None:
    """Delay of a delivery at half of the highest rate, in a room of 100."""
    table, members = Table(P99), plan.people(100)
    for player in (who.ours(), who.ours(layer="redis")):
        rate = highest(plan, player, members) / 2
        case = f"{rate:,.0f} events/s to {members}"
        plan.play(table, [player], {case: steady(members, 1, rate)})
        if values := table.values((case, player.name)):
            reached = "reached" if median(values) < 10 else "MISSED"
            print(f"  p99 of {player.name}: {median(values):.2f} ms    {reached}: under 10 ms")
    table.print_rows([P50, P99, LOST])


def stored(plan: Plan) -> None:
    """Messages stored by the chat and returned to their senders. PostgreSQL does not wait for the disk here."""
    table = Table(STORED)
    one, many = f"{PAIRS} people in one room", f"{PAIRS} people in {PAIRS} rooms"
    cases = {
        case: lambda player, count=count: [
            *player.dialect.say,
            *("--connections", str(PAIRS), "--rooms", str(count), "--senders", str(PAIRS), "--own"),
        ]
        for case, count in ((one, 1), (many, PAIRS))
    }
    sqlite, postgresql = [who.ours(chat=True, database=database) for database in ("sqlite", "postgresql")]
    sync = who.ours(chat=True, database="postgresql", consumers="sync")
    fastapi, socketio = who.fastapi_stored(), who.node_socketio_stored()
    plan.play(table, [sqlite, postgresql, sync, fastapi, *socketio], cases)
    for case in cases:
        for ours, other in ((postgresql, fastapi), *((sqlite, peer) for peer in socketio)):
            label = f"{case}: {ours.name} / {other.name}"
            table.print_ratio(Ratio(label, (case, ours.name), [(case, other.name)], 1))
    table.print_rows()

    table, case = Table(STORING_TIME), f"{SELDOM} messages/s in a room of 2"
    redis = who.ours(chat=True, layer="redis", database="postgresql")
    plan.play(table, [redis, fastapi, *socketio], {case: steady(2, 2, SELDOM)})
    table.print_ratio(
        Ratio(f"{case}: {redis.name} / {fastapi.name}", (case, redis.name), [(case, fastapi.name)], at_most=True)
    )
    table.print_rows([STORING_TIME, P50, P99])


def bystanders(plan: Plan) -> None:
    """Delay of 200 members by a client that never reads and one that floods, at a quarter of the highest rate."""
    table, members, senders = Table(P99), max(20, plan.people(200)), 20
    rate = min(
        highest(plan, who.ours(), members) / 4, 15 * senders
    )  # every sender stays below the limits, which apply here
    # Large and long enough to fill the outbox of a client that never reads.
    long = ["--say", event('{"type":"say","text":"', size=2000), "--seconds", str(plan.at_least(5))]
    quiet = steady(members, senders, rate)
    cases = {
        "alone": lambda player: [*quiet(player), *long],
        "with both": lambda player: [*quiet(player), *long, "--stuck", "--flood"],
    }
    plan.play(table, [who.ours(limits=True)], cases)
    ratio = Ratio("p99 of the others, with both / alone", ("with both", "ours"), [("alone", "ours")], 1.5, at_most=True)
    table.print_ratio(ratio)
    table.print_rows([P50, P99, LOST])


def revalidation(plan: Plan) -> None:
    """Cost of looking up the sign-ins of 10,000 sockets each beat, on PostgreSQL."""
    sockets = plan.people(10_000)
    for figures in (who.revalidating(sockets, plan.at_least(5)) for _ in range(plan.rounds)):
        cores = figures["micros"] * sockets / 1e6 / BEAT
        reached = "reached" if cores < 0.01 else "MISSED"
        print(f"  {sockets:,} sockets: {cores:.2%} of a core, {figures['micros']:.1f} µs each    {reached}: under 1 %")
        print(f"  all in private rooms: {figures['private']:.1f} µs each")
        print(f"  longest pause of the loop: {figures['pause']:.1f} ms, {figures['calm']:.1f} ms without look-ups")


def heartbeat(plan: Plan) -> None:
    """Longest work of the event loop, and the cores used, with 10,000 rooms of one member, on both layers.

    Garbage collections of Python pause the loop, too: neither may take longer.
    """
    rooms = plan.people(10_000)
    for layer in ("in-memory", "redis"):
        for phases in (who.beating(layer, rooms, plan.at_least(25)) for _ in range(plan.rounds)):
            for name, figures in phases.items():
                reached = "reached" if max(figures["pause"], figures["collection"]) < 10 else "MISSED"
                pauses = f"{figures['pause']:6.1f} ms, collections {figures['collection']:5.1f} ms"
                cost = f"{figures['cores']:4.0%} of a core in {figures['seconds']:5.1f} s"
                print(f"  {layer}, {name + ':':31}{pauses}, {cost}    {reached}: under 10 ms")


SCENARIOS = {
    "fanout": fanout,
    "growth": growth,
    "echo": echoes,
    "room-of-one": room_of_one,
    "memory": memory,
    "handshakes": handshakes,
    "returning": returning,
    "latency": latency,
    "stored": stored,
    "bystanders": bystanders,
    "revalidation": revalidation,
    "heartbeat": heartbeat,
    "notifications": notices,
    "dashboard": dashboards,
    "devices": readings,
    "sizing": sizing,
    "page": page,
}
