"""Every way to end a connection: its server closes the socket."""

import contextlib
import os
import signal
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.client import Person, wait_for_users
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, combinations, spread
from support.servers import start_site, wait_until

PATIENCE = 15  # seconds until the server has closed, less than the interval of pings
TIMES = 3  # for each path
VISITS, VISITORS = 500, 8
OVERLONG = 64  # MiB
AT_ONCE = 400  # connections
ROUNDS = 12  # of visits; daphne has its final size after about 3,000
GROWTH = 3  # MiB for that many visits, after a warm-up
LISTEN = "0A"  # include/net/tcp_states.h of Linux
TEXT, CLOSE = 1, 8  # opcodes

SITES = [
    pytest.param(answers, id=answers["server"], marks=pytest.mark.xdist_group(f"closing-{answers['server']}"))
    for answers in spread(combinations("server"), "consumers")
]


@contextlib.contextmanager
def started(cookies, environment, answers, settings=""):
    """Start a site whose users sign in, with some other settings."""
    project = bake(cookies, **answers, auth="session")
    with (project / "config" / "settings.py").open("a") as file:
        file.write(settings)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), LOG_LEVEL="WARNING")
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    with start_site(["uv", "run", "python", "manage.py", "serve"], project, environ) as site:
        yield site


@pytest.fixture(scope="module", params=SITES)
def site(request, cookies_session, environment):
    with started(cookies_session, environment, request.param) as site:
        yield site


@pytest.fixture(scope="module")
def person(site):
    """User who is signed in and has left the pages."""
    person = Person(site, "session")
    person.http.close()
    return person


def open_sockets(site):
    """Return the connections of a site's port that its processes hold open, by state."""
    states = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, address, _, state, *_, inode = line.split()[:10]
        if address.endswith(f":{site.port:04X}") and state != LISTEN:
            states[f"socket:[{inode}]"] = state
    links = []
    for folder in site.processes():
        for file in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):
                links.append(os.readlink(file))
    return [states[link] for link in links if link in states]


class Client:
    """Connection with the data that it received."""

    def __init__(self, site, path, *headers):
        self.socket = socket.create_connection((site.host, site.port), PATIENCE)
        self.received = b""
        lines = [f"GET {path} HTTP/1.1", f"Host: {site.host}:{site.port}", *headers]
        self.socket.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())

    def send(self, opcode, payload=b"", times=1):
        """Send a frame until the server stops reading."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(frame(opcode, payload) * times)

    def read(self, end=None):
        """Read until `end` arrives, or until the connection ends."""
        with contextlib.suppress(ConnectionError):
            while (end is None or end not in self.received) and (data := self.socket.recv(65536)):
                self.received += data
                if end is None and self.close_code():
                    self.send(CLOSE, struct.pack("!H", self.close_code()))

    def status(self):
        """Return the status of the response."""
        return int(self.received.split(b" ", 2)[1])

    def close_code(self):
        """Return the code of a close frame after the response, or None."""
        frames = self.received.partition(b"\r\n\r\n")[2]
        while len(frames) >= 4:
            size, skip = frames[1], 2
            if size == 126:
                size, skip = struct.unpack("!H", frames[2:4])[0], 4
            if frames[0] & 15 == CLOSE:
                return struct.unpack("!H", frames[2:4])[0]
            frames = frames[skip + size :]

    def reason(self):
        """Return how the server ended the connection: a close code, or the status of a response without a WebSocket."""
        self.read()
        return self.close_code() if self.status() == 101 else self.status()


def handshake(site, person, path="/ws/chat/lobby/", version=13, **headers):
    """Send the handshake of a WebSocket."""
    fields = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": version, **headers}
    fields |= person.headers() if person else {}
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return Client(site, path, "Upgrade: websocket", "Connection: Upgrade", *lines)


def joined(site, person):
    """Join a room as a raw client, up to the welcome."""
    client = handshake(site, person)
    client.read(b'"welcome"')
    assert client.received.startswith(b"HTTP/1.1 101 "), client.received
    return client


def frame(opcode, payload=b""):
    """Return a frame of a client, masked with zeros (RFC 6455, section 5.2)."""
    first, size = opcode | 128, len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 128 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 128 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 128 | 127, size)
    return head + bytes(4) + payload


def client_closes(site, person):
    client = joined(site, person)
    client.send(CLOSE, struct.pack("!H", 1000))
    return client, {1000}


def client_leaves(site, person):
    joined(site, person).socket.close()


def client_vanishes(site, person):
    with joined(site, person).socket as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def client_half_closes(site, person):
    client = joined(site, person)
    client.socket.shutdown(socket.SHUT_WR)
    return client, {None}


def client_floods(site, person):
    client = joined(site, person)
    client.send(TEXT, b'{"type":"ping"}', 500)
    return client, {4429}


def client_floods_and_leaves(site, person):
    client = joined(site, person)
    client.send(TEXT, b'{"type":"ping"}', 500)
    client.socket.close()


def client_sends_nonsense(site, person):
    client = joined(site, person)
    client.send(TEXT, b"{", 10)
    return client, {4400}


def client_sends_too_much(site, person):
    client = joined(site, person)
    client.send(TEXT, b"x" * 1200 * 1024)
    return client, {1009, None}


def client_invents_an_opcode(site, person):
    client = joined(site, person)
    client.send(3)
    return client, {1002, None}


def client_signs_out(site, person):
    ben = Person(site, "session")
    client = joined(site, ben)
    ben.sign_out()
    ben.http.close()
    return client, {4403}


def path_is_unknown(site, person):
    return handshake(site, person, "/ws/nothing/"), {4404}


def client_has_not_signed_in(site, person):
    return handshake(site, None), {4401}


def origin_is_refused(site, person):
    return handshake(site, person, Origin="http://evil.example"), {403}


def version_is_unknown(site, person):
    return handshake(site, person, version=99), {400, 426}


def client_sends_early_and_leaves(site, person):
    client = handshake(site, person)
    client.send(TEXT, b"{}")
    client.socket.close()


def page_is_read(site, person):
    return Client(site, "/healthz", "Connection: close"), {200}


def page_is_left(site, person):
    Client(site, "/accounts/login/").socket.close()


PATHS = [
    client_closes,
    client_leaves,
    client_vanishes,
    client_half_closes,
    client_floods,
    client_floods_and_leaves,
    client_sends_nonsense,
    client_sends_too_much,
    client_invents_an_opcode,
    client_signs_out,
    path_is_unknown,
    client_has_not_signed_in,
    origin_is_refused,
    version_is_unknown,
    client_sends_early_and_leaves,
    page_is_read,
    page_is_left,
]


@pytest.mark.parametrize("path", PATHS, ids=[path.__name__ for path in PATHS])
def test_socket_is_closed(site, person, path):
    """The server releases the file, and a client that keeps its own end open reads the reason."""
    with contextlib.ExitStack() as clients:
        for _ in range(TIMES):
            if end := path(site, person):
                client, expected = end
                clients.enter_context(client.socket)
                assert client.reason() in expected, client.received[-300:]
        wait_until(lambda: not open_sockets(site), f"no open sockets, but states {open_sockets(site)}", PATIENCE)


def test_connections_leave_no_memory_behind(site, person):
    """Memory stops growing although many clients connect briefly."""

    def visit(_):
        joined(site, person).socket.close()

    sizes, grows = [], True
    with ThreadPoolExecutor(VISITORS) as visitors:
        while grows and len(sizes) < ROUNDS:
            list(visitors.map(visit, range(VISITS)))
            sizes.append(site.memory())
            grows = len(sizes) < 2 or sizes[-1] - sizes[-2] >= GROWTH
    assert not grows, sizes


@pytest.mark.parametrize("answers", SITES)
def test_client_without_a_pong_is_dropped(cookies, environment, answers):
    """A client that acknowledges data and answers no ping leaves its room."""
    with started(cookies, environment, answers, "SERVER_PING_SECONDS = 2\n") as site:
        ann, ben = Person(site, "session"), Person(site, "session")
        with joined(site, ann).socket, ben.connect("lobby") as connection:
            wait_for_users(connection, ann.name, ben.name)
            wait_for_users(connection, ben.name)


def test_what_follows_an_overlong_message_is_not_kept(site, person):
    """The server reads no more of an overlong message, or discards it."""
    before = site.memory()
    client = joined(site, person)
    with client.socket, contextlib.suppress(ConnectionError, TimeoutError):
        client.send(TEXT, bytes(OVERLONG * 2**20))
        client.send(TEXT, bytes(2**20 + 1), OVERLONG)
        client.read()
    assert site.memory() - before < OVERLONG / 4
    wait_until(lambda: not open_sockets(site), f"no open sockets, but states {open_sockets(site)}", PATIENCE)


def test_compression_is_not_agreed_on(site, person):
    """Compression is refused, because a few bytes would inflate to many."""
    client = handshake(site, person, **{"Sec-WebSocket-Extensions": "permessage-deflate"})
    with client.socket:
        client.read(b"\r\n\r\n")
        assert client.status() == 101
        assert b"sec-websocket-extensions" not in client.received.lower()


def test_upgrade_to_http2_is_ignored(site):
    """A request to upgrade to HTTP/2 is ignored, because a tunnel would bypass a proxy's rules."""
    fields = "Upgrade: h2c", "Connection: close, Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"
    client = Client(site, "/healthz", *fields)
    with client.socket:
        client.read(b"\r\n\r\n")
        assert client.status() == 200, client.received


def test_http2_is_refused_without_tls(site):
    """A client that starts with HTTP/2's preface gets no frames of HTTP/2."""
    with socket.create_connection((site.host, site.port), PATIENCE) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(9)
            assert answer in {b"", b"HTTP/1.1 "}


def test_many_clients_may_connect_at_once(site):
    """The kernel queues connections while the process is busy."""
    server = max(int(folder.name) for folder in site.processes())
    with contextlib.ExitStack() as clients:
        os.kill(server, signal.SIGSTOP)
        clients.callback(os.kill, server, signal.SIGCONT)
        for _ in range(AT_ONCE):
            clients.enter_context(socket.create_connection((site.host, site.port), 5))
