"""Logs of each server: security events, no secret at any level, and no line from outside."""

import contextlib
import itertools
import json
import re
import socket
import struct
import time

import httpx
import pytest
from support.client import MOST, PASSWORD, Person, close_code, cookie, csrf_token, open_socket, receive, say
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS
from support.servers import start_site, wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus

FORMATS = ("line", "json")
SITES = [
    pytest.param((server, log_format), id=f"{server}-{log_format}", marks=pytest.mark.xdist_group(f"logs-{server}"))
    for server in CHOICES["server"]
    for log_format in FORMATS
]
ROOM = "/ws/chat/lobby/"
HANDSHAKE = (
    b"GET /ws/chat/lobby/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
addresses = (f"203.0.113.{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def projects(cookies_session, environment):
    """Return a function for a migrated project of a server and its environment, each made once."""
    made = {}

    def get(server, auth="token"):
        if (server, auth) not in made:
            project = bake(cookies_session, server=server, auth=auth)
            environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
            run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
            made[server, auth] = project, environ
        return made[server, auth]

    return get


@pytest.fixture(scope="module", params=SITES)
def site(request, projects):
    """A site at the most verbose log level."""
    server, log_format = request.param
    project, environ = projects(server)
    log = project.parent / f"{project.name}.log"
    log.write_text("")
    environ = {**environ, "LOG_LEVEL": "DEBUG", "LOG_FORMAT": log_format}
    with start_site(["uv", "run", "python", "manage.py", "serve"], project, environ) as site:
        site.server, site.log_format = server, log_format
        yield site


@pytest.fixture
def person(site):
    return Person(site, "token")


def new_client(site):
    headers = {"Origin": site.url, "Referer": f"{site.url}/"}
    return httpx.Client(base_url=site.url, trust_env=False, timeout=10, headers=headers)


def lines(site, mark=0):
    """Return the log since a mark. A server may write a little after its answer."""
    time.sleep(0.3)
    return site.log.read_bytes()[mark:].decode()


def cut_off(connection):
    """Reset a connection, as a machine does after a power failure."""
    raw = connection.socket
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def send_raw(site, data):
    """Send bytes that no client library would send, and wait for an answer or the end."""
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection, contextlib.suppress(OSError):
        connection.sendall(data)
        connection.settimeout(2)
        connection.recv(4096)


def send_frame(connection, opcode, payload):
    """Send one raw frame, which the client library would refuse."""
    head = bytes([0x80 | opcode, 0x80 | len(payload)]) + b"\0\0\0\0"
    connection.socket.sendall(head + payload)


def test_secrets_are_not_logged(site, person):
    """Cookies, tickets, tokens, texts and passwords are not logged by the server, Django or a library."""
    mark = site.log.stat().st_size
    text, wrong = "a-text-that-nobody-else-reads", "a-password-that-is-wrong"
    used, unused = person.ticket(), person.ticket()
    cookies = "; ".join(f"{name}={value}" for name, value in person.http.cookies.items())
    with person.connect("lobby") as by_header:
        receive(by_header)
        say(by_header, "one", text)
    with open_socket(site, f"{ROOM}?ticket={used}", additional_headers={"Cookie": cookies}) as by_ticket:
        receive(by_ticket)
        by_ticket.send(f'{{"type":"send","ref":"two","text":"{text}"')  # invalid JSON
        receive(by_ticket)
    subprotocols = ["bearer", person.token]
    with open_socket(site, ROOM, subprotocols=subprotocols, additional_headers={"Cookie": cookies}) as by_subprotocol:
        receive(by_subprotocol)
    refused = open_socket(site, f"{ROOM}?ticket={used}")
    assert close_code(refused) == 4401
    with pytest.raises(InvalidStatus):
        open_socket(site, f"{ROOM}?ticket={unused}", origin="https://evil.example")
    person.http.get(f"/no/such/page/?ticket={unused}&q={text}")
    person.http.get(f"/chat/lobby/messages/?ticket={unused}")
    person.http.post("/accounts/login/", data={"username": wrong, "password": wrong})  # without a CSRF token
    stranger = new_client(site)
    field = csrf_token(stranger.get("/accounts/login/"))
    answers = [
        stranger.post("/accounts/login/", data={"username": wrong, "password": wrong, "csrfmiddlewaretoken": field}),
        person.http.post("/api/token/", json={"username": person.name, "password": wrong}),
        person.http.post("/api/token/", json={"username": person.name, "password": PASSWORD}),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 200]
    another = answers[-1].json()["token"]
    raw = (
        f"GET {ROOM}?ticket={unused} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Cookie: {cookies}\r\nAuthorization: Bearer {person.token}\r\nSec-WebSocket-Version: 7\r\n\r\n"
    )
    send_raw(site, raw.encode())
    log = lines(site, mark)
    secrets = {text, wrong, used, unused, person.token, another, field, PASSWORD}
    secrets.update(person.http.cookies.values(), stranger.cookies.values())
    found = {secret: [line for line in log.splitlines() if secret in line] for secret in secrets if secret in log}
    assert not found
    assert "sign_in_failed" in log, log  # the check would find it


def test_each_line_is_a_record(site, person):
    """Control characters, line separators and direction marks from outside are escaped."""
    mark = site.log.stat().st_size
    for path in ("a%0A2026-01-01 INFO forged", "a%1B[2J", "a%E2%80%A8b", "a%E2%80%AEb", "%C2%85b", "a%0Db"):
        assert person.http.get(f"/no/such/{path}/").status_code == 404
        assert close_code(open_socket(site, f"/ws/no/such/{path.replace(' ', '%20')}/", **as_person(person))) == 4404
    for origin in (b"https://evil.example/\t\x1b[2J", b"https://evil.example/\xe2\x80\xae", b"a\x85b", b"a] user=root"):
        send_raw(site, HANDSHAKE + b"Origin: " + origin + b"\r\n\r\n")
    send_raw(site, b"GET /\x1b[2J HTTP/1.1\r\nHost: x\x1b\r\n\x1b: y\r\n\r\n")
    log = lines(site, mark)
    assert not UNSAFE.search(log), log
    assert not re.search("^2026-01-01", log, re.M)
    for line in log.splitlines():
        if site.log_format == "json":
            assert json.loads(line)["levelname"], line
        else:
            assert re.match(r"    |\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: .* \[client=", line), line


def as_person(person):
    return {"additional_headers": person.headers()}


def events(site, address):
    """Return the security events with this address, with their other fields."""
    found = []
    for line in site.log.read_text().splitlines():
        if site.log_format == "json":
            record = json.loads(line)
            if record["name"] == "security" and record["client"] == address:
                found.append((record["event"], record.get("account", record["user"])))
        elif " security: " in line and f"[client={address} " in line:
            fields = dict(re.findall(r"(\w+)=([\w.:@-]+)", line))
            found.append((fields["event"], fields.get("account", fields["user"])))
    return found


def wait_for_event(site, address, *wanted):
    """Wait until all events are logged, and a moment longer for an extra one."""
    wait_until(lambda: len(events(site, address)) >= len(wanted), f"{wanted}, not {events(site, address)}")
    time.sleep(0.2)
    assert sorted(events(site, address)) == sorted(wanted)


def test_security_events_carry_the_address(site):
    """Each security event is logged once, with the address from a trusted proxy."""
    person = Person(site, "token")
    name = person.name

    def come_from(address):
        person.http.headers["X-Forwarded-For"] = address
        return address, {"additional_headers": {**person.headers(), "X-Forwarded-For": address}}

    person.http.cookies.clear()
    address, _ = come_from(next(addresses))
    fields = {"username": name, "csrfmiddlewaretoken": csrf_token(person.http.get("/accounts/login/"))}
    person.http.post("/accounts/login/", data={**fields, "password": "wrong"})
    wait_for_event(site, address, ("sign_in_failed", name))
    address, _ = come_from(next(addresses))
    person.http.post("/accounts/login/", data={**fields, "password": PASSWORD})
    wait_for_event(site, address, ("sign_in", name))
    address, _ = come_from(next(addresses))
    person.http.post("/accounts/logout/", headers={"X-CSRFToken": cookie(person.http, "csrftoken")})
    wait_for_event(site, address, ("sign_out", name))
    address, _ = come_from(next(addresses))
    person.http.post("/api/token/", json={"username": "nobody", "password": "wrong"})
    wait_for_event(site, address, ("sign_in_failed", "-"))
    address, _ = come_from(next(addresses))
    person.token = person.http.post("/api/token/", json={"username": name, "password": PASSWORD}).json()["token"]
    wait_for_event(site, address, ("token_issued", name))

    address, _ = come_from(next(addresses))
    with pytest.raises(InvalidStatus):
        forwarded = {"X-Forwarded-For": address}
        open_socket(site, ROOM, additional_headers=forwarded, origin="https://evil.example")
    wait_for_event(site, address, ("origin_refused", "-"))
    assert "https://evil.example" in next(line for line in site.log.read_text().splitlines() if address in line)

    address, options = come_from(next(addresses))
    with open_socket(site, ROOM, **options) as flooding:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(400):
                flooding.send('{"type":"ping"}')
        wait_for_event(site, address, ("flood", name))

    time.sleep(3)  # until the user may send again
    address, options = come_from(next(addresses))
    with open_socket(site, ROOM, **options) as flooding:
        receive(flooding)
        with contextlib.suppress(OSError):
            for _ in range(400):
                send_frame(flooding, 9, b"")  # a ping, which no consumer receives
        wait_for_event(site, address, ("flood", name))

    address, options = come_from(next(addresses))
    sockets = [open_socket(site, ROOM, **options) for _ in range(MOST)]
    for opened in sockets:
        receive(opened)
    too_many, crowded = come_from(next(addresses))
    assert close_code(open_socket(site, ROOM, **crowded)) == 4409
    wait_for_event(site, too_many, ("too_many_connections", name))

    revoked_from, _ = come_from(next(addresses))
    person.sign_out()
    assert {close_code(opened) for opened in sockets} == {4403}
    wait_for_event(site, revoked_from, ("token_revoked", name))
    wait_for_event(site, address, *[("socket_revoked", name)] * MOST)


def test_clients_that_vanish_leave_no_traceback(site, person):
    """Members that are cut off and members that send invalid UTF-8 leave no traceback."""
    mark = site.log.stat().st_size
    options = {"additional_headers": person.headers()}
    with person.connect("vanishing") as speaker:
        receive(speaker)
        for round in range(3):
            members = [open_socket(site, "/ws/chat/vanishing/", **options) for _ in range(8)]
            for number, member in enumerate(members):
                if number % 2:
                    receive(member)
                cut_off(member)
                send_typing(speaker)
            say(speaker, f"{round}", "hi")
            for payload in (b"\xff\xfe", b'{"type":"send","text":"\xc3\x28"}'):
                with open_socket(site, "/ws/chat/vanishing/", **options) as bad:
                    receive(bad)
                    send_frame(bad, 1, payload)
                    assert close_code(bad) in {1007, 1006, None}
    for data in (b"GET / HT", b"\xff\xfe\x00\r\n\r\n", b"GET / HTTP/1.1\r\nHost: \xff\r\n\xff: \r\n\r\n"):
        with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
            connection.sendall(data)
    with httpx.Client(base_url=site.url, trust_env=False) as http:
        http.get("/", headers={"Cookie": b"sessionid=\xff\xfe"})
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        connection.sendall(b"POST /api/token/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nhalf")
    time.sleep(1.5)  # daphne checks every second how its applications ended
    log = lines(site, mark)
    assert "Traceback" not in log, log
    assert not [line for line in log.splitlines() if " ERROR " in line or '"ERROR"' in line], log


def send_typing(connection):
    connection.send('{"type":"typing"}')
