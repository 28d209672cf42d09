"""A client whose network fails costs a file handle for a minute at most, on every server."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.client import Person, say, wait_for_users
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS
from support.programs import require_programs
from support.servers import free_port, start_site, wait_until

PATIENCE = 45  # seconds; the kernel alone would retry for a quarter of an hour
TEXT = "🐌" * 4000  # 16 KB as UTF-8
MANY = 60  # more of these than fit a small buffer of the client and the server's own

pytestmark = pytest.mark.xdist_group("half-open")

SITES = [pytest.param((number, server), id=server) for number, server in enumerate(CHOICES["server"])]

# Joins a room with a small buffer, prints its name, and reads nothing more.
CLIENT = """
import re, socket, sys, time
host, port = sys.argv[1], int(sys.argv[2])
connection = socket.socket()
connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
connection.connect((host, port))
connection.sendall((
    f"GET /ws/chat/lobby/ HTTP/1.1\\r\\nHost: {host}:{port}\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
    "Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n"
).encode())
received = b""
while not (name := re.search(rb'"welcome".*?"user":"([^"]+)"', received)):
    received += connection.recv(4096)
print(name[1].decode(), flush=True)
time.sleep(300)
"""


class Network:
    """A machine in a network namespace of its own, with a cable to this one."""

    def __init__(self, number):
        self.name = f"half-open-{os.getpid()}-{number}"
        self.cable = f"ho{os.getpid() % 100000}{number}"
        self.host, self.guest = f"10.213.{number}.1", f"10.213.{number}.2"

    def ip(self, *arguments):
        run(["ip", *arguments], Path.cwd(), dict(os.environ))

    def __enter__(self):
        require_programs({"ip": "iproute2"})
        assert os.geteuid() == 0, "These tests make a network namespace, which takes root: sudo make test"
        self.ip("netns", "add", self.name)
        self.ip("link", "add", self.cable, "type", "veth", "peer", "name", "cable", "netns", self.name)
        self.ip("address", "add", f"{self.host}/30", "dev", self.cable)
        self.ip("link", "set", self.cable, "up")
        self.ip("-n", self.name, "address", "add", f"{self.guest}/30", "dev", "cable")
        self.ip("-n", self.name, "link", "set", "cable", "up")
        return self

    def __exit__(self, *_):
        self.ip("netns", "delete", self.name)

    @contextlib.contextmanager
    def client(self, site):
        """Start a client in a room. Return its name."""
        command = ["ip", "netns", "exec", self.name, sys.executable, "-c", CLIENT, site.host, str(site.port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process.stdout.readline().strip()
            finally:
                process.kill()

    def cut(self):
        """Drop all packets from now on, without a signal to either end."""
        self.ip("-n", self.name, "link", "set", "cable", "down")


@pytest.fixture(scope="module", params=SITES)
def network(request):
    number, server = request.param
    with Network(number) as network:
        network.server = server
        yield network


@pytest.fixture(scope="module")
def site(network, cookies_session, environment):
    """A site of guests on that network, with a tenth of the timeouts."""
    project = bake(cookies_session, server=network.server, auth="none")
    with (project / "config" / "settings.py").open("a") as settings:
        settings.write("SERVER_PING_SECONDS = 2\n")
    workers = project / "realtime" / "servers" / "workers.py"
    code = workers.read_text()
    assert code.count("USER_TIMEOUT = 30_000") == 1
    workers.write_text(code.replace("USER_TIMEOUT = 30_000", "USER_TIMEOUT = 3_000"))
    port = free_port()
    environ = environ_for(
        environment(PYTHONS[-1], CHOICES["django_version"][0]),
        ALLOWED_HOSTS=network.host,
        ALLOWED_ORIGINS=f"http://{network.host}:{port}",
        LOG_LEVEL="WARNING",
    )
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    command = ["uv", "run", "python", "manage.py", "serve"]
    with start_site(command, project, environ, port, network.host) as site:
        yield site


def test_client_without_a_network_is_dropped(network, site):
    """The user leaves the room and the socket is closed, also with unsent data."""
    ben = Person(site, "none")
    ben.http.close()
    with ben.connect("lobby") as connection, network.client(site) as name:
        wait_for_users(connection, ben.name, name)
        before = site.open_sockets()
        network.cut()
        for number in range(MANY):
            say(connection, f"m{number}", TEXT)
            time.sleep(0.06)  # within the rate
        with ben.connect("lobby") as other:
            wait_for_users(other, ben.name)
        wait_until(lambda: site.open_sockets() < before, "the socket is closed", PATIENCE)
