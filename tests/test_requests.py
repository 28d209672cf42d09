"""Limits on requests, on every server: size and time of heads and bodies, and idle connections."""

import contextlib
import re
import socket
import statistics
import threading
import time

import httpx
import pytest
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, combinations, spread
from support.servers import start_site, wait_until

HEAD, BODY, IDLE = 2, 2, 1  # seconds
SLACK = 8  # seconds that a busy machine may add
AT_ONCE = 1.5  # seconds for an answer that waits for nothing, below HEAD
MEMORY = 24  # MiB that an attack may cost
HUGE = 200 * 2**20  # bytes

PAGE = "GET /healthz HTTP/1.1"
HANDSHAKE = "GET /ws/chat/room/ HTTP/1.1"
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
KINDS = {"page": (PAGE,), "handshake": (HANDSHAKE, *UPGRADE)}

SITES = [
    pytest.param(answers, id=answers["server"], marks=pytest.mark.xdist_group(f"requests-{answers['server']}"))
    for answers in spread(combinations("server"), "consumers")
]


@pytest.fixture(scope="module", params=SITES)
def site(request, cookies_session, environment):
    """A site of guests with short times."""
    project = bake(cookies_session, **request.param, auth="none")
    with (project / "config" / "settings.py").open("a") as settings:
        settings.write(f"SERVER_HEAD_SECONDS, SERVER_BODY_SECONDS, SERVER_IDLE_SECONDS = {HEAD}, {BODY}, {IDLE}\n")
    python = environment(PYTHONS[-1], CHOICES["django_version"][0]) / "bin" / "python"
    environ = environ_for(python.parent.parent, LOG_LEVEL="WARNING")
    run([str(python), "manage.py", "migrate", "--verbosity", "0"], project, environ)
    with start_site([str(python), "manage.py", "serve"], project, environ) as site:
        httpx.get(site.url, trust_env=False)  # load what the first page loads
        yield site


@pytest.fixture(autouse=True)
def nothing_left_open(site):
    """The server closes its side of every connection of a test."""
    before = site.open_sockets()
    yield
    assert "Traceback" not in site.log.read_text()
    wait_until(lambda: site.open_sockets() <= before, f"no more than {before} open sockets", 10 + SLACK)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


class Connection:
    """Raw TCP connection to a site."""

    def __init__(self, site):
        self.socket = socket.create_connection(("127.0.0.1", site.port), 60)
        self.port = site.port
        self.opened = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Send bytes. Return False if the server has closed the connection."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def head(self, *lines, end=b"\r\n"):
        self.send(
            "".join(f"{line}\r\n" for line in (lines[0], f"Host: 127.0.0.1:{self.port}", *lines[1:])).encode() + end
        )

    def status(self, patience):
        """Return the status of the response, or None if the server closed without one."""
        data = self.read_until(lambda data: b"\r\n" in data, patience)
        return int(re.match(rb"HTTP/1\.1 (\d{3}) ", data)[1]) if data else None

    def closed(self, patience):
        """Read until the server closes. Return the seconds since the connection was opened."""
        self.read_until(lambda data: False, patience)
        return time.monotonic() - self.opened

    def read_until(self, condition, patience):
        deadline = time.monotonic() + patience
        data = b""
        while not condition(data):
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                received = self.socket.recv(65536)
            except ConnectionError:
                break
            except TimeoutError:
                raise AssertionError(f"nothing but {data!r} within {patience} s") from None
            if not received:
                break
            data += received
        return data


@contextlib.contextmanager
def neighbour(site):
    """Another client, whose pages go on meanwhile."""
    over = threading.Event()
    times = []

    def visit():
        with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as client:
            while not over.wait(0.05):
                start = time.monotonic()
                assert client.get("/healthz").status_code == 200
                times.append(time.monotonic() - start)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    median = statistics.median(times)
    print(f"{len(times)} pages, {median * 1000:.0f} ms at the median, the slowest took {max(times) * 1000:.0f} ms")
    assert median < 0.3


def push(connection, piece, size, seconds=10):
    """Send a piece again and again, until it is that many bytes or the server closes. Return the bytes sent."""
    connection.socket.settimeout(seconds)
    deadline, sent = time.monotonic() + seconds, 0
    while sent < size and time.monotonic() < deadline and connection.send(piece):
        sent += len(piece)
    return sent


def trickle(connection, piece, seconds):
    """Send a piece five times a second until the server closes. Return the seconds since the connection was opened."""
    deadline = time.monotonic() + seconds
    connection.socket.settimeout(0.2)
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            try:
                if not connection.socket.recv(65536):
                    break
            except ConnectionError:
                break
        if not connection.send(piece):
            break
    return time.monotonic() - connection.opened


def test_nine_kilobytes_of_cookies_are_fine(site, kind):
    """Cookies of all ports of 127.0.0.1 are sent to each, so a header line grows beyond 8 KiB."""
    first, *others = KINDS[kind]
    with Connection(site) as connection:
        connection.head(first, *others, f"Cookie: big={'x' * 9 * 1024}")
        assert connection.status(AT_ONCE) == (101 if kind == "handshake" else 200)


def test_many_headers_are_answered_at_once(site, kind):
    """200 headers are either fine or refused."""
    first, *others = KINDS[kind]
    with Connection(site) as connection:
        connection.head(first, *others, *(f"X-Header-{number}: {number}" for number in range(200)))
        assert connection.status(AT_ONCE) in {101, 200, 431}


def test_an_over_long_header_line_is_refused_at_once(site, kind):
    """Above SERVER_MAX_HEAD_BYTES the answer is 431, with the end of the head or without."""
    first, *others = KINDS[kind]
    for end in (b"\r\n", b""):
        with Connection(site) as connection:
            connection.head(first, *others, f"Cookie: big={'x' * 40 * 1024}", end=end)
            assert connection.status(AT_ONCE) == 431
            connection.closed(IDLE + SLACK)


def test_many_short_headers_are_refused_at_once(site, kind):
    """The limit holds for the head, and not for each line."""
    first, *others = KINDS[kind]
    with Connection(site) as connection:
        connection.head(first, *others, *(f"X-Header-{number}: {'x' * 80}" for number in range(400)))
        assert connection.status(AT_ONCE) == 431
        connection.closed(IDLE + SLACK)


def test_the_client_does_not_choose_the_root_of_the_site(site):
    """A proxy's rules for a path would not match it below another path."""
    with Connection(site) as connection:
        connection.head("GET /x/healthz HTTP/1.1", "Daphne-Root-Path: /x")
        assert connection.status(AT_ONCE) == 404


def test_an_over_long_url_is_refused_at_once(site):
    """The request line counts too."""
    with Connection(site) as connection:
        connection.head(f"GET /?{'x' * 40 * 1024} HTTP/1.1")
        assert connection.status(AT_ONCE) in {414, 431}
        connection.closed(IDLE + SLACK)


@pytest.mark.parametrize("header", ["Content-Length: 5", "Transfer-Encoding: chunked", "Sec-WebSocket-Key: short"])
def test_a_bad_handshake_is_answered_at_once(site, header):
    """A handshake with a body, or with two keys, is neither left open nor a failure of the server."""
    with Connection(site) as connection:
        connection.head(HANDSHAKE, *UPGRADE, header)
        if "Encoding" in header:
            connection.send(b"0\r\n\r\n")
        status = connection.status(AT_ONCE)
        assert status is None or 100 < status < 500


def test_half_a_request_ends(site, kind):
    """A head that is not finished within SERVER_HEAD_SECONDS ends the connection."""
    first, *others = KINDS[kind]
    with Connection(site) as connection:
        connection.head(first, *others, end=b"")
        assert connection.closed(HEAD + IDLE + SLACK) > HEAD - 0.5


def test_a_trickled_head_ends(site, kind):
    """A byte now and then does not extend the time."""
    first, *others = KINDS[kind]
    with Connection(site) as connection:
        connection.head(first, *others, "X: ", end=b"")
        assert HEAD - 0.5 < trickle(connection, b"x", HEAD + 2 * SLACK) < HEAD + IDLE + SLACK


def test_an_endless_header_costs_little(site, kind):
    """The connection ends at the limit. Neither memory nor other clients' pages suffer."""
    first, *others = KINDS[kind]
    before = site.memory()
    with neighbour(site), Connection(site) as connection:
        connection.head(first, *others, "X: ", end=b"")
        push(connection, b"x" * 65536, HUGE, 5)
        connection.closed(HEAD + IDLE + SLACK)
    assert site.memory() - before < MEMORY


def test_an_idle_connection_is_closed(site):
    """A connection without a request ends, before the first one and between two, even if empty lines arrive."""
    with Connection(site) as connection:
        assert connection.closed(IDLE + SLACK) > IDLE - 0.5
    for piece in (b"", b"\r\n"):
        with Connection(site) as connection:
            connection.head(PAGE)
            assert connection.status(AT_ONCE) == 200
            assert IDLE - 0.5 < trickle(connection, piece, 2 * SLACK) < HEAD + IDLE + SLACK


def test_a_body_within_the_limit_arrives(site):
    """A form of 512 KiB is read wholly, announced or in chunks, and the connection goes on."""
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        page = client.get("/")
        assert page.status_code == 200
        form = b"x=" + b"y" * 2**19
        for content in (form, (form[start : start + 65536] for start in range(0, len(form), 65536))):
            answer = client.post("/", content=content, headers={"Content-Type": "application/x-www-form-urlencoded"})
            assert answer.status_code in {403, 405}
            assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("expect", ["Expect: 100-continue", "X-Expect: nothing"])
def test_an_announced_body_above_the_limit_is_refused_at_once(site, expect):
    """The answer is 413 before any of it was sent."""
    with Connection(site) as connection:
        connection.head("POST / HTTP/1.1", f"Content-Length: {HUGE}", expect)
        assert connection.status(AT_ONCE) == 413
        connection.closed(BODY + IDLE + SLACK)


@pytest.mark.parametrize("headers", [f"Content-Length: {HUGE}", "Transfer-Encoding: chunked"])
def test_a_huge_body_costs_little(site, headers):
    """The answer is 413. Neither memory nor other clients' pages suffer."""
    before = site.memory()
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n" if "chunked" in headers else b"x" * 65536
    with neighbour(site), Connection(site) as connection:
        connection.head("POST / HTTP/1.1", headers)
        push(connection, piece, 2 * 2**20, 5)
        assert connection.status(AT_ONCE) == 413
        push(connection, piece, HUGE, 5)
        connection.closed(BODY + IDLE + SLACK)
    assert site.memory() - before < MEMORY


@pytest.mark.parametrize("headers", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_an_unsent_body_ends(site, headers):
    """A body that is incomplete after SERVER_BODY_SECONDS ends the connection, trickled or not sent at all."""
    for piece in (b"", b"1\r\nx\r\n" if "chunked" in headers else b"x"):
        with Connection(site) as connection:
            connection.head("POST / HTTP/1.1", headers)
            assert BODY - 0.5 < trickle(connection, piece, BODY + 2 * SLACK) < BODY + IDLE + SLACK


def test_an_answer_before_the_body_ends_the_connection(site):
    """A client that continues its body after the answer has bounded time."""
    with Connection(site) as connection:
        connection.head("POST /healthz HTTP/1.1", "Content-Length: 1000000")
        assert trickle(connection, b"x", BODY + 2 * SLACK) < BODY + IDLE + SLACK


def test_endless_trailers_end(site):
    """Header lines after a chunked body count as its head."""
    before = site.memory()
    with Connection(site) as connection:
        connection.head("POST / HTTP/1.1", "Transfer-Encoding: chunked")
        connection.send(b"1\r\nx\r\n0\r\n")
        push(connection, b"".join(b"X-Trailer-%d: %s\r\n" % (n, b"x" * 1000) for n in range(60)), HUGE, 5)
        connection.closed(BODY + IDLE + SLACK)
    assert site.memory() - before < MEMORY
