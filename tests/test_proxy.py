"""Two server processes behind nginx, where every part is restarted while users chat through it."""

import asyncio
import contextlib
import json
import re
import secrets
import socket
import ssl
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psycopg
import pytest
from support.client import NO_TLS, Person
from support.emitted import bake, environ_for, run
from support.faults import Client, all_connected, check_everything, open_room, settle, wait_for
from support.matrix import PYTHONS, combinations, label, spread
from support.proxy import ADDRESSES, Proxy
from support.servers import Postgres, Redis, free_port, start_site, wait_until
from websockets.exceptions import WebSocketException

CHECK = "check --deploy --database default --fail-level WARNING"
PEOPLE, CLIENTS, ROOMS = 12, 24, 3
OUTAGE = 9  # seconds without a database, long enough for a pool that retries ever more rarely to fall behind
BACK = 5  # seconds until a client is back, a handshake succeeds, and a process is ready again

SITES = [
    pytest.param(
        {**answers, "channel_layer": "redis", "database": "postgresql"},
        id=label(answers),
        marks=pytest.mark.xdist_group(f"proxy-{answers['server']}"),
    )
    for answers in spread(combinations("server"), "consumers", "auth", "django_version")
]

# A column of the next version, unknown to the running one.
MIGRATION = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("chat", "{latest}")]
    operations = [migrations.AddField("message", "pinned", models.BooleanField(db_default=False, default=False))]
"""


class Cluster:
    """Two server processes on addresses of their own, nginx before them, and their shared services."""

    def __init__(self, project, environ, proxy, stack):
        self.project, self.environ, self.proxy, self.stack = project, environ, proxy, stack
        self.sites = {}

    def start(self, address):
        command = ["uv", "run", "python", "manage.py", "serve"]
        site = start_site(command, self.project, self.environ, self.proxy.site_port, address)
        self.sites[address] = self.stack.enter_context(site)
        wait_until(lambda: self.says("ready"), "all processes are ready")

    def kill(self, address=ADDRESSES[0]):
        self.sites.pop(address).kill()

    def restart_all(self):
        """Restart one process after the other, as a new version is rolled out."""
        for address in ADDRESSES:
            self.sites.pop(address).terminate()
            self.start(address)

    def migrate(self):
        """Add a column. If a reader holds the table for long, it gives up instead of blocking all others."""
        folder = self.project / "chat" / "migrations"
        latest = max(path.stem for path in folder.glob("0*.py"))
        (folder / "9999_pinned.py").write_text(MIGRATION.format(latest=latest))
        migrate = ["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"]
        with psycopg.connect(self.environ["DATABASE_URL"]) as report:
            report.execute("SELECT count(*) FROM chat_message")
            with pytest.raises(AssertionError, match="lock timeout"):
                run(migrate, self.project, self.environ)
        run(migrate, self.project, self.environ)

    def says(self, text):
        """Return whether `/readyz` of each process answers this. All processes must be live."""
        assert all(site.answers() for site in self.sites.values())
        return {get(f"{site.url}/readyz").text for site in self.sites.values()} == {f"{text}\n"}

    def connections(self):
        """Return the number of sockets of each process."""
        pages = [get(f"{site.url}/metrics").text for site in self.sites.values()]
        return [float(re.search(r"^realtime_connections (.+)$", page, re.M)[1]) for page in pages]


def get(url, **options):
    return httpx.get(url, timeout=10, trust_env=False, **{"verify": NO_TLS, **options})


@pytest.fixture(scope="module")
def services():
    """A Redis and a PostgreSQL that may be stopped, and nginx, which starts without a server."""
    with contextlib.ExitStack() as stack:
        redis, postgres = Redis(Path(stack.enter_context(tempfile.TemporaryDirectory()))), Postgres()
        for service in (redis, postgres):
            service.start()
            stack.callback(service.stop)
        yield redis, postgres


@pytest.fixture(scope="module", params=SITES)
def cluster(request, cookies_session, environment, services):
    answers, (redis, postgres) = request.param, services
    project = bake(cookies_session, **answers)
    proxy = Proxy(free_port())
    environ = environ_for(
        environment(PYTHONS[-1], answers["django_version"]),
        DEBUG="false",
        SECRET_KEY=secrets.token_urlsafe(48),
        ALLOWED_HOSTS="localhost",
        ALLOWED_ORIGINS=proxy.url,
        FORWARDED_ALLOW_IPS="127.0.0.1",
        DATABASE_URL=postgres.new_database(),
        REDIS_URL=f"{redis.url}/0",
        SIGNUP_OPEN="true",
        MACHINES="2",
        METRICS_TOKEN=secrets.token_urlsafe(24),
        LOG_LEVEL="WARNING",
    )
    for command in ("migrate --verbosity 0", "collectstatic --no-input --verbosity 0", CHECK):
        run(["uv", "run", "python", "manage.py", *command.split()], project, environ)
    with contextlib.ExitStack() as stack:
        proxy.start(project)
        stack.callback(proxy.stop)
        cluster = Cluster(project, environ, proxy, stack)
        for address in ADDRESSES:
            cluster.start(address)
        cluster.auth = answers["auth"]
        yield cluster


@pytest.mark.timeout(400)
def test_nothing_is_lost_whatever_is_restarted(cluster, services):
    """Users on both processes continue to chat while one is killed, both are replaced, and the services restart."""
    with ThreadPoolExecutor(4) as threads:
        people = list(threads.map(lambda _: Person(cluster.proxy, cluster.auth), range(PEOPLE)))
    clients = [Client(people[number % PEOPLE], f"room {number % ROOMS}") for number in range(CLIENTS)]
    try:
        print(asyncio.run(talk_amid_restarts(cluster, services, clients)))
    except BaseException:
        print(next(iter(cluster.sites.values())).log.read_text()[-30_000:], cluster.proxy.log()[-5000:])
        raise


async def talk_amid_restarts(cluster, services, clients):
    """Print the counts, and the seconds until each recovery."""
    redis, postgres = services
    took, over = {}, False
    async with asyncio.TaskGroup() as listening:
        tasks = [listening.create_task(client.listen()) for client in clients]
        await all_connected(clients)
        assert all(cluster.connections()), "nginx gave everybody to one process"
        async with asyncio.TaskGroup() as talking:
            for client in clients:
                talking.create_task(client.speak(lambda: not over))
            took["kill"] = await handshakes_amid(cluster, clients, cluster.kill)
            await asyncio.to_thread(cluster.start, ADDRESSES[0])
            took["rolling restart"] = await handshakes_amid(cluster, clients, cluster.restart_all)
            took["redis"] = await away(cluster, redis.stop, "channel layer", 2, redis.start)
            took["postgresql"] = await send_amid(cluster, clients[0].person, postgres)
            await asyncio.to_thread(cluster.migrate)
            over = True
        stored = await settle(clients)
        for task in tasks:
            task.cancel()
    references = check_everything(clients, stored)
    unavailable = sum(client.errors["unavailable"] for client in clients)
    return took | {"messages": references.total(), "unavailable": unavailable}


async def handshakes_amid(cluster, clients, fault):
    """Cause a fault. The longest time without a handshake and the time until all clients are back are short."""
    person = clients[0].person
    happening = asyncio.create_task(asyncio.to_thread(fault))
    start = last = time.monotonic()
    longest = 0
    while not happening.done() or time.monotonic() < start + 2:
        if await welcomes(cluster.proxy, person):
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        await asyncio.sleep(0.1)
    await happening
    longest = max(longest, time.monotonic() - last)
    assert longest < BACK
    await wait_for(lambda: all(client.socket for client in clients), lambda: "everybody is back", BACK)
    return round(longest, 1)


async def welcomes(proxy, person):
    """Return whether a new connection is welcomed within a second."""
    try:
        async with asyncio.timeout(1), open_room(proxy, "probe", additional_headers=person.headers()) as socket:
            return json.loads(await socket.recv())["type"] == "welcome"
    except (OSError, TimeoutError, WebSocketException):
        return False


async def away(cluster, stop, part, seconds, start):
    """Stop a service for some seconds. The processes are not ready meanwhile, and are ready soon after."""
    await asyncio.to_thread(stop)
    try:
        await asyncio.to_thread(wait_until, lambda: cluster.says(f"away: {part}"), f"the {part} is missed", 5 + seconds)
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(start)
    back = time.monotonic()
    await asyncio.to_thread(wait_until, lambda: cluster.says("ready"), f"the {part} is back", BACK)
    return round(time.monotonic() - back, 1)


async def send_amid(cluster, person, postgres):
    """Check that a message sent without the database is refused, and stored when it is sent again."""
    message = json.dumps({"type": "send", "ref": "patience", "text": "Is somebody there?"})
    async with open_room(cluster.proxy, "patience", additional_headers=person.headers()) as socket:

        async def answer(*types):
            while (event := json.loads(await asyncio.wait_for(socket.recv(), 15)))["type"] not in types:
                pass
            return event

        assert (await answer("welcome"))["seq"] == 0
        outage = asyncio.create_task(away(cluster, postgres.pause, "database", OUTAGE, postgres.resume))
        await asyncio.sleep(1)
        await socket.send(message)
        refused = await answer("error", "message")
        assert (refused["type"], refused["code"], refused["ref"]) == ("error", "unavailable", "patience")
        took = await outage
        await socket.send(message)
        assert (await answer("error", "message"))["seq"] == 1
    return took


def test_plain_http_is_sent_to_https(cluster):
    """Plain HTTP is redirected to HTTPS, whatever headers a client sends. Only the proxy is trusted."""
    for headers in ({}, {"X-Forwarded-Proto": "https"}):
        headers["Host"] = "localhost"
        answer = get(f"{cluster.proxy.plain_url}/", headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (301, "https://localhost/")
        site = next(iter(cluster.sites.values()))
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.9")) as stranger:
            assert stranger.get(f"{site.url}/", headers=headers).status_code == 301
    headers = {"Host": "localhost", "X-Forwarded-Proto": "https"}
    assert get(f"{site.url}/", headers=headers).status_code in {200, 302}


def test_browsers_speak_http2(cluster):
    """Browsers use HTTP/2 except for WebSockets, so that a page's files come over one connection."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", cluster.proxy.port)) as connection,
        tls.wrap_socket(connection, server_hostname="localhost") as wrapped,
    ):
        assert (wrapped.selected_alpn_protocol(), wrapped.version()) == ("h2", "TLSv1.3")


def test_operators_pages_are_not_for_the_internet(cluster):
    """The proxy does not pass on operators' pages, which the servers answer."""
    for path in ("/healthz", "/readyz", "/metrics"):
        assert get(cluster.proxy.url + path, verify=cluster.proxy.tls).status_code == 404


def test_headers_bind_browsers_to_this_host(cluster):
    """HSTS does not include subdomains, no other host can set the cookies, and no cache stores a page."""
    answer = get(f"{cluster.proxy.url}/{'' if cluster.auth == 'none' else 'accounts/login/'}", verify=cluster.proxy.tls)
    assert answer.headers["strict-transport-security"] == "max-age=3600"
    cookies = [cookie.split("; ") for cookie in answer.headers.get_list("set-cookie")]
    assert cookies != []
    for name, *attributes in cookies:
        assert name.startswith("__Host-")
        assert {"Path=/", "Secure", "SameSite=Lax"} <= set(attributes)
        assert not any(attribute.startswith("Domain") for attribute in attributes)
    assert "no-store" in answer.headers["cache-control"]


def test_metrics_need_a_token_through_a_proxy(cluster):
    """A proxy on the same machine does not pass figures to visitors, whatever headers a client sends."""
    path = f"{cluster.sites[ADDRESSES[0]].url}/metrics"
    token = {"Authorization": f"Bearer {cluster.environ['METRICS_TOKEN']}"}
    elsewhere = {"X-Forwarded-For": "127.0.0.1, 203.0.113.7", "X-Forwarded-Proto": "https"}
    assert get(path).status_code == 200
    assert get(path, headers=elsewhere).status_code == 401
    assert get(path, headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401
    assert get(path, headers={**elsewhere, "Authorization": "Bearer wrong"}).status_code == 401
    assert get(path, headers={**elsewhere, **token}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/site.css", "/metrics", "/accounts/login/", "/ws/chat/lobby/", "/ws/"])
@pytest.mark.parametrize("protocol", ["h2c", "H2C", "h2c, websocket", "websocket, h2c", "websocket/13", "TLS/1.0"])
def test_nothing_but_a_websocket_is_upgraded(cluster, protocol, path):
    """No other protocol is upgraded: a tunnel would bypass rate limits and open operators' pages."""
    settings = {"HTTP2-Settings": "AAMAAABkAAQAAP__"} if "2" in protocol.lower() else {}
    assert ask_upgrade(cluster, path, protocol, **settings) not in {101, 502}


def test_websockets_are_upgraded_at_their_paths_only(cluster):
    """At other paths the server gets a plain request, however the client spells the protocol."""
    handshake = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    for protocol in ("websocket", "WebSocket"):
        assert ask_upgrade(cluster, "/ws/chat/lobby/", protocol, Origin=cluster.proxy.url, **handshake) == 101
    plain = get(cluster.proxy.url, verify=cluster.proxy.tls).status_code
    assert ask_upgrade(cluster, "/", "websocket", Origin=cluster.proxy.url, **handshake) == plain
    assert ask_upgrade(cluster, "/metrics", "websocket", **handshake) == 404


def ask_upgrade(cluster, path, protocol, **headers):
    """Return the status of a request for another protocol over HTTP/1.1."""
    headers = {"Host": "localhost", "Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol, **headers}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    with (
        socket.create_connection(("127.0.0.1", cluster.proxy.port), 10) as connection,
        cluster.proxy.tls.wrap_socket(connection, server_hostname="localhost") as wrapped,
    ):
        wrapped.sendall("\r\n".join(lines).encode())
        return int(wrapped.makefile("rb").readline().split()[1])


def test_requests_per_address_are_bounded(cluster):
    """Large bodies are refused, and so are repeated attempts at a password."""
    with httpx.Client(base_url=cluster.proxy.url, verify=cluster.proxy.tls, trust_env=False) as client:
        assert client.post("/", content=b"x" * 1024 * 1024 + b"x").status_code == 413
        if cluster.auth != "none":
            tries = [client.post("/accounts/login/", data={"password": number}).status_code for number in range(100)]
            assert (tries[0], tries[-1]) == (403, 429)
            paths = ["/accounts/signup/", "/accounts/password_reset/", "/admin/login/"]
            paths += ["/api/token/"] if cluster.auth == "token" else []
            assert all(429 in {client.get(path).status_code for _ in range(20)} for path in paths)


def test_static_files_outlive_the_servers(cluster):
    """nginx caches static files, so that a page stays whole while servers are replaced."""
    names = json.loads((cluster.project / "staticfiles" / "staticfiles.json").read_text())["paths"]
    url = f"{cluster.proxy.url}/static/{names['site.css']}"
    first = get(url, verify=cluster.proxy.tls)
    assert (first.status_code, "immutable" in first.headers["cache-control"]) == (200, True)
    for address in ADDRESSES:
        cluster.kill(address)
    assert get(url, verify=cluster.proxy.tls).content == first.content
    assert get(cluster.proxy.url, verify=cluster.proxy.tls).status_code == 502


BALANCER, STRANGER = "127.0.0.3", "127.0.0.9"
FORWARDED = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7", "X-Forwarded-Proto": "https"}


class Echo(BaseHTTPRequestHandler):
    """Server behind nginx that answers with the address and scheme in its headers."""

    def do_GET(self):
        body = json.dumps([self.headers[name] for name in FORWARDED]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def behind_balancer(cookies_session):
    """Start nginx with the lines enabled that nginx.conf has for a balancer."""
    project = bake(cookies_session)
    path = project / "deploy" / "nginx.conf"
    content = path.read_text()
    for line in ("real_ip_header X-Forwarded-For;", "set_real_ip_from 10.0.0.0/8;"):
        assert content.count(f"# {line}") == 1
        content = content.replace(f"# {line}", line.replace("10.0.0.0/8", BALANCER))
    path.write_text(content)
    with ThreadingHTTPServer(("", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = Proxy(server.server_port)
        proxy.start(project)
        yield proxy
        proxy.stop()
        server.shutdown()


@pytest.mark.parametrize(
    ("sender", "headers", "passed_on"),
    [
        (BALANCER, FORWARDED, ["203.0.113.7", "https"]),
        (BALANCER, {**FORWARDED, "X-Forwarded-Proto": "http"}, ["203.0.113.7", "http"]),
        (BALANCER, {}, [BALANCER, "http"]),
        (STRANGER, FORWARDED, [STRANGER, "http"]),
    ],
)
def test_listed_balancer_names_client_and_scheme(behind_balancer, sender, headers, passed_on):
    """nginx takes the address and the scheme of a client from a listed balancer, and from no other."""
    with httpx.Client(transport=httpx.HTTPTransport(local_address=sender)) as client:
        assert client.get(f"{behind_balancer.plain_url}/", headers=headers).json() == passed_on


def test_client_behind_no_balancer_has_the_scheme_of_its_connection(behind_balancer):
    """A direct connection over TLS is HTTPS, even if a header names another scheme."""
    headers = {**FORWARDED, "X-Forwarded-Proto": "http"}
    assert get(behind_balancer.url, verify=behind_balancer.tls, headers=headers).json() == ["127.0.0.1", "https"]
