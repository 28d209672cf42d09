"""Contestants of the benchmarks: their servers, and the events that the load sends to them."""

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.emitted import clean_environ, run
from support.matrix import complete
from support.servers import Postgres, Redis

from bench import workshop
from bench.measure import Server, start_server

PEOPLE = 1000  # users, each with a session
ENVIRON = {
    "DJANGO_SETTINGS_MODULE": "bench_settings",
    "SECRET_KEY": "of a benchmark that accepts local connections only",
    "ALLOWED_HOSTS": "127.0.0.1",
    "ALLOWED_ORIGINS": "http://127.0.0.1",
    "DATABASE_URL": "sqlite:///db.sqlite3",
    "LOG_LEVEL": "WARNING",
}
SIZE = 81  # bytes of an event


def event(before: str, after: str = '"}', size: int = SIZE) -> str:
    """Return an event of this size between two texts. The load replaces its "%s" by the time."""
    filling = size - len(before) - len("stamp:") - 19 - len(after)
    return f"{before}stamp:%s{'.' * filling}{after}"


@dataclass(frozen=True)
class Dialect:
    """Options of the load to join a room and to send, and to get an answer back (`echo`)."""

    join: tuple[str, ...]
    say: tuple[str, ...]
    echo: tuple[str, ...] = ()


OURS = Dialect(
    ("--path", "/ws/bench/room%d/", "--ready", '"joined"'),
    ("--say", event('{"type":"say","text":"')),
    ("--say", '{"type":"ping"}', "--expect", '"pong"'),
)
TEXT = "what people write to each other"
CHAT = Dialect(
    ("--path", "/ws/chat/room%d/", "--ready", '"welcome"'),
    ("--say", event('{"type":"send","ref":"', f'","text":"{TEXT}"}}')),
)
PLAIN = Dialect(("--path", "/ws/chat/room%d/"), ("--say", event('{"message":"')))
SOCKETIO = Dialect(
    (
        *("--path", "/socket.io/?EIO=4&transport=websocket", "--socketio"),
        *("--hello", '42["join","room%d"]', "--ready", '"joined"'),
    ),
    ("--say", event('42["say",{"message":"', '"}]')),
)
TALK = ("100", "the end of the talk")  # messages that each room has, and the text of the last one
# As CHAT, for a client that reconnects, and has everything once it has the last message.
RETURN = ("--path", "/ws/chat/room%d/?after=50", "--ready", TALK[1])
# As CHAT, for peers that store messages.
PLAIN_CHAT = Dialect(PLAIN.join, CHAT.say)
SOCKETIO_CHAT = Dialect(SOCKETIO.join, ("--say", event('42["say",{"ref":"', f'","text":"{TEXT}"}}]')))


@dataclass(frozen=True)
class Contestant:
    """A server that can be started any number of times."""

    name: str
    command: tuple[str, ...]
    dialect: Dialect = PLAIN
    folder: Path = workshop.PEERS
    environ: dict[str, str] = field(default_factory=dict)
    cookies: Path | None = None
    redis: bool = False
    postgres: bool = False
    talk_rooms: int = 0  # with messages of a talk

    @contextlib.contextmanager
    def serve(self) -> Iterator[Server]:
        """Run the server and its services until the block ends."""
        with contextlib.ExitStack() as stack:
            environ, services = dict(self.environ), []
            if self.redis:
                redis = Redis(workshop.BENCH)
                redis.start()
                stack.callback(redis.stop)
                environ["REDIS_URL"] = f"{redis.url}/0"
                services.append(redis.process.pid)
            if self.postgres:
                postgres = Postgres()
                postgres.start()
                stack.callback(postgres.stop)
                environ["DATABASE_URL"] = postgres.new_database()
                services.append(postgres.process.pid)
                if (self.folder / "manage.py").exists():
                    label, count = (self.cookies.stem, PEOPLE) if self.cookies else (self.name, 0)
                    sign_in(label, count, self.folder, environ)
                if self.talk_rooms:
                    talk = [python(), str(workshop.HERE / "talk.py"), str(self.talk_rooms), *TALK]
                    run(talk, self.folder, clean_environ(**environ, PYTHONPATH=str(self.folder)))
            log = workshop.BENCH / f"{self.name}.log"
            yield stack.enter_context(start_server([*self.command], self.folder, environ, services, log))

    @property
    def join(self) -> list[str]:
        """Return the options of the load for opening connections."""
        return [*self.dialect.join, *(["--cookies", str(self.cookies)] if self.cookies else [])]


def python() -> str:
    return str(workshop.environment())


def sign_in(label: str, count: int, path: Path, environ: dict[str, str]) -> Path:
    """Create a project's tables, and a file with the cookies of signed-in users."""
    cookies = workshop.BENCH / f"{label}.cookies"
    environ = clean_environ(**environ, PYTHONPATH=str(path))
    cookies.write_text(run([python(), str(workshop.HERE / "people.py"), str(count)], path, environ))
    return cookies


@functools.cache
def ours(
    server: str = "uvicorn",
    layer: str = "in-memory",
    consumers: str = "async",
    auth: str = "none",
    database: str = "sqlite",
    chat: bool = False,
    limits: bool = False,
    talk_rooms: int = 0,
) -> Contestant:
    """Return an emitted project with a consumer like the tutorial's, or with its own `chat`."""
    label = "-".join(("ours", server, layer, consumers, auth, database))
    project = bake(label, server, layer, consumers, auth, database)
    environ = {**ENVIRON, **({"BENCH_LIMITS": "1"} if limits else {})}
    cookies = workshop.BENCH / f"{label}.cookies"
    if database == "sqlite":
        people = 0 if auth == "none" else PEOPLE
        sign_in(label, people, project, {**environ, "REDIS_URL": "redis://127.0.0.1"})
    return Contestant(
        name("ours", server, layer, consumers, auth, database),
        (python(), "bench_server.py"),
        CHAT if chat else OURS,
        project,
        environ,
        cookies if auth != "none" else None,
        redis=layer == "redis",
        postgres=database == "postgresql",
        talk_rooms=talk_rooms,
    )


def revalidating(sockets: int, seconds: float) -> dict[str, float]:
    """Return what it costs an emitted project on PostgreSQL to look up its sign-ins."""
    player, postgres = ours(auth="session", database="postgresql"), Postgres()
    postgres.start()
    try:
        environ = clean_environ(**player.environ | {"DATABASE_URL": postgres.new_database()})
        program = [python(), str(workshop.HERE / "revalidating.py"), str(sockets), str(seconds)]
        output = run(program, player.folder, environ | {"PYTHONPATH": str(player.folder)})
    finally:
        postgres.stop()
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


@functools.cache
def bake(label: str, server: str, layer: str, consumers: str, auth: str, database: str) -> Path:
    """Bake a project, add the measured consumer, and collect static files as production does."""
    project = workshop.bake(
        label, server=server, channel_layer=layer, consumers=consumers, auth=auth, database=database
    )
    for source in ("bench_settings.py", "bench_server.py", f"bench_consumers.{consumers}.py"):
        content = (workshop.HERE / "project" / source).read_text(encoding="utf-8")
        (project / source.replace(f".{consumers}", "")).write_text(content, encoding="utf-8")
    # Nothing connects to these services here; the settings require their URLs.
    services = {"DATABASE_URL": "postgresql://127.0.0.1/bench"} if database == "postgresql" else {}
    environ = clean_environ(**(ENVIRON | services), REDIS_URL="redis://127.0.0.1")
    run([python(), "manage.py", "collectstatic", "--no-input"], project, environ)
    return project


SERVE = complete(
    "server",
    {
        "uvicorn": ("uvicorn", "--log-level", "warning", "--host", "127.0.0.1", "--port", "{port}"),
        "daphne": ("daphne", "-v", "0", "-b", "127.0.0.1", "-p", "{port}"),
        "hypercorn": ("hypercorn", "--worker-class", "uvloop", "--log-level", "warning", "--bind", "127.0.0.1:{port}"),
    },
)


@functools.cache
def tutorial(
    server: str = "uvicorn", layer: str = "in-memory", consumers: str = "async", auth: str = "none"
) -> Contestant:
    """Return the tutorial's consumer. If `auth` is "session", AuthMiddlewareStack wraps it."""
    environ = {
        "DJANGO_SETTINGS_MODULE": "tutorial.settings",
        "TUTORIAL_LAYER": layer,
        "TUTORIAL_CONSUMERS": consumers,
        "TUTORIAL_AUTH": "yes" if auth == "session" else "",
        "TUTORIAL_FOLDER": str(workshop.BENCH),
    }
    return Contestant(
        name("tutorial", server, layer, consumers, auth, "sqlite"),
        (python(), "-m", *SERVE[server], "tutorial.asgi:application"),
        environ=environ,
        cookies=sign_in_to_tutorial() if auth == "session" else None,
        redis=layer != "in-memory",
    )


@functools.cache
def sign_in_to_tutorial() -> Path:
    workshop.BENCH.joinpath("db.sqlite3").unlink(missing_ok=True)
    environ = {"DJANGO_SETTINGS_MODULE": "tutorial.settings", "TUTORIAL_FOLDER": str(workshop.BENCH)}
    return sign_in("tutorial", PEOPLE, workshop.PEERS, environ)


def name(who: str, *answers: str) -> str:
    """Name a contestant by the answers that differ from the default."""
    usual = ("uvicorn", "in-memory", "async", "none", "sqlite")
    return ", ".join((who, *(answer for answer, other in zip(answers, usual, strict=True) if answer != other)))


def fastapi() -> Contestant:
    return Contestant("FastAPI", (python(), "-m", *SERVE["uvicorn"], "fastapi_app:app"))


def fastapi_stored() -> Contestant:
    command = (python(), "-m", *SERVE["uvicorn"], "fastapi_stored:app")
    return Contestant("FastAPI, SQLAlchemy, postgresql", command, PLAIN_CHAT, postgres=True)


def websockets() -> Contestant:
    return Contestant("websockets", (python(), "websockets_app.py", "{port}"))


def python_socketio(redis: bool = False) -> Contestant:
    label = "python-socketio, redis" if redis else "python-socketio"
    return Contestant(label, (python(), "-m", *SERVE["uvicorn"], "socketio_app:app"), SOCKETIO, redis=redis)


def floor() -> Contestant:
    return Contestant("floor", (python(), "floor.py", "{port}"))


def node_peer(label: str, script: str, dialect: Dialect, redis: bool = False, **variables: str) -> list[Contestant]:
    """Return a peer on Node, or none without Node."""
    program = workshop.node()
    environ = {"NODE_PATH": str(workshop.NODE / "node_modules"), "NODE_ENV": "production", **variables}
    return [Contestant(label, (program, script, "{port}"), dialect, environ=environ, redis=redis)] if program else []


def node_ws() -> list[Contestant]:
    return node_peer("Node ws", "ws.js", PLAIN)


def node_socketio(redis: bool = False) -> list[Contestant]:
    return node_peer("Socket.IO, redis" if redis else "Socket.IO", "socketio.js", SOCKETIO, redis)


def node_socketio_stored() -> list[Contestant]:
    database = str(workshop.BENCH / "socketio.sqlite3")
    return node_peer("Socket.IO, sqlite", "socketio_stored.js", SOCKETIO_CHAT, DATABASE=database)
