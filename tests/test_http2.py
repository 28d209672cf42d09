"""HTTP/2 by hypercorn itself: pages, files and WebSockets (RFC 8441) share one connection."""

import json
import re
import socket
import ssl
from types import SimpleNamespace

import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
import trustme
from playwright.sync_api import expect, sync_playwright
from support.browsers import find_browser
from support.client import Person, names
from support.emitted import bake, environ_for, run
from support.frames import CLOSE, PING, TEXT, closing, frame
from support.matrix import CHOICES, PYTHONS
from support.servers import free_port, start_site, wait_until

pytestmark = pytest.mark.xdist_group("http2")

PATIENCE = 15
SLOW = """
import asyncio

from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import path


class Slow(AsyncWebsocketConsumer):
    async def receive(self, **_):
        await asyncio.sleep(1)


websocket_urlpatterns[:0] = [path("ws/slow/", Slow.as_asgi())]
"""


@pytest.fixture(scope="module")
def site(cookies_session, environment, tmp_path_factory):
    """A site of guests in production that ends TLS itself."""
    folder, port = tmp_path_factory.mktemp("tls"), free_port()
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "site.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    project = bake(cookies_session, server="hypercorn", auth="none")
    with (project / "config" / "routing.py").open("a") as routing:
        routing.write(SLOW)
    with (project / "config" / "settings.py").open("a") as settings:
        settings.write("SERVER_IDLE_SECONDS, SERVER_BODY_SECONDS = 2, 4\n")
    environ = environ_for(
        environment(PYTHONS[-1], CHOICES["django_version"][0]),
        DEBUG="false",
        SECRET_KEY="s" * 64,
        ALLOWED_HOSTS="127.0.0.1",
        ALLOWED_ORIGINS=f"https://127.0.0.1:{port}",
        TLS_CERTFILE=str(folder / "site.pem"),
        TLS_KEYFILE=str(folder / "site.pem"),
        LOG_LEVEL="ERROR",
    )
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    run(["uv", "run", "python", "manage.py", "collectstatic", "--no-input", "-v0"], project, environ)
    with start_site(["uv", "run", "python", "manage.py", "serve"], project, environ, port, tls=trust) as site:
        yield site


@pytest.fixture(autouse=True)
def nothing_logged(site):
    """Check that clients cause only security events in the log, and leave no socket open."""
    before = len(site.log.read_text()), site.open_sockets()
    yield
    lines = site.log.read_text()[before[0] :].splitlines()
    assert [line for line in lines if " security: " not in line] == []
    wait_until(lambda: site.open_sockets() <= before[1], f"no more than {before[1]} open sockets", PATIENCE)


class Connection:
    """HTTP/2 connection of a client that ends its streams freely."""

    def __init__(self, site):
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        trust.set_alpn_protocols(["h2"])
        plain = socket.create_connection((site.host, site.port), PATIENCE)
        self.socket = trust.wrap_socket(plain, server_hostname=site.host)
        assert self.socket.selected_alpn_protocol() == "h2"
        self.site = site
        self.http = h2.connection.H2Connection()
        self.http.initiate_connection()
        self.streams = {}
        self.ended, self.error = False, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def wait_for(self, condition):
        """Read until the condition holds."""
        self.flush()
        while not condition():
            assert not self.ended, "the server ended the connection"
            data = self.socket.recv(65536)
            self.ended = not data
            for event in self.http.receive_data(data) if data else ():
                self.take(event)
            self.flush()

    def take(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ConnectionTerminated):
            self.ended, self.error = True, event.error_code
        elif stream is None:
            pass
        elif isinstance(event, h2.events.ResponseReceived):
            stream.status = int(dict(event.headers)[b":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.data += event.data
            self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            stream.ended = True

    def request(self, method, path, headers=(), *, ended=True):
        """Start a request. Return its stream."""
        number = self.http.get_next_available_stream_id()
        self.streams[number] = SimpleNamespace(id=number, status=None, data=b"", ended=False)
        authority = f"{self.site.host}:{self.site.port}"
        fields = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path), *headers]
        self.http.send_headers(number, sorted(fields, key=lambda field: field[0][0] != ":"), ended)
        return self.streams[number]

    def get(self, path):
        stream = self.request("GET", path)
        self.wait_for(lambda: stream.ended)
        return stream

    def join(self, person, path="/ws/chat/lobby/", greeting=b'"welcome"'):
        """Open a WebSocket, and wait for the first event."""
        fields = [(":protocol", "websocket"), ("sec-websocket-version", "13"), ("origin", self.site.url)]
        fields += [(name.lower(), value) for name, value in person.headers().items()]
        self.wait_for(lambda: self.http.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL))
        stream = self.request("CONNECT", path, fields, ended=False)
        self.wait_for(lambda: stream.status and greeting in stream.data)
        assert stream.status == 200
        return stream

    def send(self, stream, data):
        self.http.send_data(stream.id, data)
        self.flush()

    def users(self, stream):
        """Return the users in the latest presence event of a WebSocket."""
        return names(json.loads(re.findall(rb'"presence","users":(\[.*?\])', stream.data)[-1]))


def end_stream(connection, stream):
    connection.http.end_stream(stream.id)


def close_and_end_stream(connection, stream):
    connection.send(stream, closing(1000))
    connection.http.end_stream(stream.id)


def close_and_wait(connection, stream):
    connection.send(stream, closing(1000))
    connection.wait_for(lambda: stream.ended)
    assert frame(CLOSE, b"\x03\xe8", masked=False) in stream.data
    connection.http.end_stream(stream.id)


def reset(connection, stream):
    connection.http.reset_stream(stream.id, h2.errors.ErrorCodes.CANCEL)


def reset_within_a_frame(connection, stream):
    connection.send(stream, frame(TEXT, b"{}")[:3])
    connection.http.reset_stream(stream.id, h2.errors.ErrorCodes.CANCEL)


def close_and_reset(connection, stream):
    connection.send(stream, closing(1000))
    connection.http.reset_stream(stream.id, h2.errors.ErrorCodes.CANCEL)


def data_after_close(connection, stream):
    connection.send(stream, closing(1000))
    for _ in range(5):
        connection.http.send_data(stream.id, frame(TEXT, b"{}"))


def data_after_close_of_the_server(connection, stream):
    connection.send(stream, frame(TEXT, b"{") * 10)
    connection.wait_for(lambda: stream.ended)
    assert closing_code(stream) == 4400
    for _ in range(5):
        connection.http.send_data(stream.id, frame(TEXT, b"{}"))


def flood(connection, stream):
    connection.send(stream, frame(PING) * 400)
    connection.wait_for(lambda: stream.ended)
    assert closing_code(stream) == 4429
    connection.send(stream, frame(PING) * 400)


def invalid_frame(connection, stream):
    connection.send(stream, frame(3))
    connection.wait_for(lambda: stream.ended)
    assert closing_code(stream) == 1002


def closing_code(stream):
    """Return the code of the close frame at the end of a stream."""
    return int.from_bytes(re.search(rb"\x88[\x02-\x7d](..)[^\x88]*$", stream.data, re.DOTALL)[1])


ENDS = [
    end_stream,
    close_and_end_stream,
    close_and_wait,
    reset,
    reset_within_a_frame,
    close_and_reset,
    data_after_close,
    data_after_close_of_the_server,
    flood,
    invalid_frame,
]


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
def test_neighbours_go_on_when_a_socket_ends(site, end):
    """A member leaves the room, and the other streams of its connection work as before."""
    ann, ben = Person(site, "none"), Person(site, "none")
    ann.http.close()
    ben.http.close()
    with Connection(site) as connection:
        neighbour, ending = connection.join(ben), connection.join(ann)
        connection.wait_for(lambda: connection.users(neighbour) == sorted([ann.name, ben.name]))
        end(connection, ending)
        connection.wait_for(lambda: connection.users(neighbour) == [ben.name])
        connection.send(neighbour, frame(TEXT, b'{"type":"ping"}'))
        connection.wait_for(lambda: b'"pong"' in neighbour.data)
        assert connection.get("/healthz").status == 200
        assert not neighbour.ended


def test_neighbours_do_not_wait_for_a_slow_consumer(site):
    """Unhandled data of a stream holds back only its own client."""
    ann = Person(site, "none")
    ann.http.close()
    with Connection(site) as connection:
        slow = connection.join(ann, "/ws/slow/", b"")
        connection.send(slow, frame(TEXT, b"x") * 3 * PATIENCE)
        assert connection.get("/healthz").status == 200


def test_other_ways_to_connect_are_refused(site):
    """A CONNECT to another host or protocol, or to a path outside ASCII, ends only its own stream."""
    with Connection(site) as connection:
        connection.wait_for(
            lambda: connection.http.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)
        )
        for method, path, fields in (("CONNECT", "/", [(":protocol", "tcp")]), ("GET", "/\xff", [])):
            stream = connection.request(method, path, fields)
            connection.wait_for(lambda stream=stream: stream.ended)
            assert connection.get("/healthz").status == 200


def test_connection_that_resets_its_requests_is_closed(site):
    """Requests that are reset at once cost the server work, but not the client (CVE-2023-44487)."""
    with Connection(site) as connection:
        for _ in range(1000):
            stream = connection.request("GET", "/healthz")
            connection.http.reset_stream(stream.id)
        with pytest.raises(AssertionError, match="the server ended the connection"):
            connection.wait_for(lambda: False)
        assert connection.error == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(b"\x00\x00\x00\xee\x00\x00\x00\x00\x00", id="unknown"),
        pytest.param(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01", id="window-update"),
    ],
)
def test_connection_that_floods_with_frames_is_closed(site, kind):
    """A frame without content counts as much as a full one."""
    with Connection(site) as connection:
        assert connection.get("/healthz").status == 200
        connection.socket.sendall(kind * 1000)
        with pytest.raises(AssertionError, match="the server ended the connection"):
            connection.wait_for(lambda: False)
        assert connection.error == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


def test_unread_answer_is_dropped(site):
    """A window that stays closed holds no memory forever, and the connection continues."""
    with Connection(site) as connection:
        connection.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stream = connection.request("GET", "/")
        connection.wait_for(lambda: stream.status == 200)
        connection.wait_for(lambda: stream.ended)
        assert stream.data == b""


@pytest.mark.parametrize("first", ["nothing", "request", "reset"])
def test_idle_connection_is_closed(site, first):
    """A connection without a stream is closed, whatever it was used for."""
    with Connection(site) as connection:
        if first == "request":
            assert connection.get("/healthz").status == 200
        elif first == "reset":
            reset(connection, connection.request("GET", "/healthz", ended=False))
        with pytest.raises(AssertionError, match="the server ended the connection"):
            connection.wait_for(lambda: False)


def test_chromium_opens_its_socket_over_http2(site, tmp_path):
    """Page, files and WebSocket arrive over h2, and messages go both ways."""
    log = tmp_path / "net.json"
    arguments = [f"--log-net-log={log}", "--net-log-capture-mode=Everything"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser("chromium"), args=arguments)
        page = browser.new_context(base_url=site.url, ignore_https_errors=True).new_page()
        page.goto("/chat/h2/")
        page.get_by_role("textbox", name="Message").fill("over h2")
        page.keyboard.press("Enter")
        expect(page.get_by_text("over h2")).to_be_visible(timeout=PATIENCE * 1000)
        protocols = page.evaluate(
            "performance.getEntries().filter(entry => entry.nextHopProtocol).map(entry => entry.nextHopProtocol)"
        )
        assert len(protocols) > 2
        assert set(protocols) == {"h2"}
        browser.close()
    assert ":protocol: websocket" in log.read_text()
