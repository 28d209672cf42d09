"""The engine's client for browsers, without a project: one page, and a server that speaks WebSocket."""

import asyncio
import json
import re
import threading
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright
from support.browsers import launch
from support.matrix import TEMPLATE
from support.servers import wait_until
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

ENGINE = TEMPLATE / "{{cookiecutter.project_slug}}" / "realtime"
CLIENT = ENGINE / "static" / "realtime" / "client.js"
MANUAL = (ENGINE / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```js\n(.*?)^```$", MANUAL, re.M | re.S)
RECONNECT = {1001, 1006, 1011, 1012, 4012, 4408}
STOP = {1000, 1003, 4400, 4401, 4403, 4404, 4429, 4999}
# A page whose clients report to lists: `open(name, url, options)` makes one.
PAGE = """<!DOCTYPE html>
<title>Client</title>
<link rel="icon" href="data:,">
<script type="module">
  import { RealtimeClient } from "/client.js";
  globalThis.clients = {};
  globalThis.reports = {};
  globalThis.open = (name, url, options = {}) => {
    reports[name] = [];
    const report = (what) => reports[name].push(what);
    clients[name] = new RealtimeClient(url, { ...options, onevent: report, onstatus: report });
    clients[name].connect();
  };
</script>"""


# A page for each example of client.md.
FORM = """<!DOCTYPE html>
<title>Example</title>
<link rel="icon" href="data:,">
<header><form><button>Log out</button></form></header>
<main>
<p role="status"></p>
<ol></ol>
<form data-socket-path="/notes" data-pass-path="/pass"><input name="text"><button>Send</button></form>
<script type="module" src="/example/{number}.js"></script>"""


class Server:
    """Serves the page and the script, and acts on sockets by their path."""

    def __init__(self):
        self.visits = []  # the path and the query of each socket
        self.frames = []
        self.ready = threading.Event()
        self.thread = threading.Thread(target=asyncio.run, args=[self.run()])

    def __enter__(self):
        self.thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join()

    async def run(self):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        async with serve(self.handle, "127.0.0.1", 0, process_request=self.respond) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.ready.set()
            await self.stop.wait()

    def respond(self, connection, request):
        files = {"/": ("text/html", PAGE.encode()), "/pass": ("text/plain", b"7")}
        files |= dict.fromkeys(("/client.js", "/realtime/client.js"), ("text/javascript", CLIENT.read_bytes()))
        for number, example in enumerate(EXAMPLES):
            files[f"/example/{number}"] = "text/html", FORM.format(number=number).encode()
            files[f"/example/{number}.js"] = "text/javascript", example.encode()
        if request.path not in files:
            return None
        kind, content = files[request.path]
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Connection": "close"}
        return Response(HTTPStatus.OK, "OK", Headers(headers), content)

    async def handle(self, connection):
        url = urlsplit(connection.request.path)
        self.visits.append((url.path, parse_qs(url.query)))
        match url.path.split("/")[1:]:
            case ["close", "1006"]:
                await connection.recv()  # the first ping: the abort would overtake the handshake
                connection.transport.abort()
            case ["close", code]:
                await connection.close(int(code))
            case ["silent"]:
                await connection.wait_closed()
            case ["echo"]:
                await self.echo(connection)
            case ["notes"]:
                await self.keep_notes(connection)

    async def echo(self, connection):
        try:
            async for frame in connection:
                self.frames.append(event := json.loads(frame))
                match event:
                    case {"type": "ping"}:
                        await connection.send('{"type":"pong"}')
                    case {"type": "close", "code": code}:
                        await connection.close(code)
                    case _:
                        await connection.send(frame)
        except ConnectionClosed:
            pass

    async def keep_notes(self, connection):
        """Number notes as an app does, and refuse "bad". The first is lost, and the second ends a socket."""
        visit = len(self.sockets("/notes"))
        try:
            await connection.send('{"type":"welcome","seq":0}')
            async for frame in connection:
                match json.loads(frame):
                    case {"type": "note", "text": "bad"}:
                        await connection.send('{"type":"error","code":"too_long","detail":"Too bad."}')
                    case {"type": "note"} as note if visit > 1:
                        self.frames.append(note)
                        await connection.send(json.dumps({**note, "seq": len(self.frames)}))
                        if len(self.frames) == 2:
                            await connection.close(1012)
                    case {"type": "note"}:
                        await connection.close(1012)
        except ConnectionClosed:
            pass

    def sockets(self, path):
        """Return the queries of the sockets at a path."""
        return [query for visited, query in self.visits if visited == path]


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.xdist_group(f"client-{kind}")) for kind in ("chromium", "firefox")],
    scope="module",
)
def browser(request):
    """One browser for the module."""
    with sync_playwright() as playwright, launch(playwright, request.param) as browser:
        yield browser


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def page(browser, server):
    """An empty page with the client."""
    page = browser.new_page()
    page.goto(server.url)
    page.wait_for_function("globalThis.open !== undefined && globalThis.clients !== undefined")
    yield page
    page.close()


def reports(page, name):
    return page.evaluate("name => reports[name]", name)


def wait_for(page, name, *wanted):
    """Wait until a client has reported these statuses and events, in this order and next to each other."""
    wanted = list(wanted)

    def found():
        page.wait_for_timeout(20)
        all_reports = reports(page, name)
        starts = range(len(all_reports) - len(wanted) + 1)
        return any(all_reports[start : start + len(wanted)] == wanted for start in starts)

    wait_until(found, f"{name}: {wanted}")


CONNECTING, OPEN = {"status": "connecting"}, {"status": "open"}


def closed(code, retrying):
    return {"status": "closed", "code": code, "retrying": retrying}


def test_close_codes_decide(page, server):
    """Six codes lead to another connection, and every other code ends the client."""
    page.evaluate("codes => codes.forEach((code) => open(code, `/close/${code}`))", sorted(RECONNECT | STOP))
    for code in RECONNECT:
        wait_for(page, str(code), CONNECTING, OPEN, closed(code, True), CONNECTING, OPEN)
    for code in STOP:
        wait_for(page, str(code), closed(code, False))
        assert reports(page, str(code)) == [CONNECTING, OPEN, closed(code, False)]
        assert len(server.sockets(f"/close/{code}")) == 1


def test_too_many_connections_are_retried_for_a_minute(page, server):
    """The client tries five times more, then stops until `connect()` is called."""
    page.clock.install()
    page.evaluate("open('a', '/close/4409')")
    for attempt in range(2):
        waited = 0
        for _ in range(5):
            wait_until(lambda: reports(page, "a")[-1] == closed(4409, True), "a refusal")
            sockets = len(server.sockets("/close/4409"))
            while len(server.sockets("/close/4409")) == sockets:
                page.clock.run_for(250)
                waited += 250
        wait_for(page, "a", closed(4409, False))
        assert 44_000 < waited < 80_000
        assert len(server.sockets("/close/4409")) == 6 * (attempt + 1)
        page.evaluate("clients.a.connect()")


def test_events_are_carried(page, server):
    """Each event reaches the page as it was sent, and pongs stay with the client."""
    assert page.evaluate("open('a', '/echo'), clients.a.send({type: 'early'})") is False
    wait_for(page, "a", CONNECTING, OPEN)
    event = {"type": "roll", "sides": 6, "of": ["é", None]}
    assert page.evaluate("event => clients.a.send(event)", event) is True
    wait_for(page, "a", event)
    assert server.frames == [{"type": "ping"}, event]
    page.evaluate("clients.a.close()")
    assert reports(page, "a") == [CONNECTING, OPEN, event, closed(1000, False)]
    assert page.evaluate("clients.a.send({type: 'late'})") is False


def test_resume_parameters_are_asked_for_each_connection(page, server):
    """The query gets the values of `resume`, but for empty ones."""
    page.evaluate("globalThis.last = null; open('a', '/echo?x=1', {resume: () => ({after: last, other: undefined})})")
    wait_for(page, "a", OPEN)
    page.evaluate("last = 7; clients.a.reconnect()")
    wait_for(page, "a", closed(1006, True), CONNECTING, OPEN)
    assert server.sockets("/echo") == [{"x": ["1"]}, {"x": ["1"], "after": ["7"]}]


def test_url_may_be_a_function(page, server):
    """A function is called for each connection. The client retries a failure, unless its cause is a close code."""
    page.evaluate(
        """() => {
          let number = 0;
          open("a", async (signal) => {
            number += 1;
            if (number === 2) throw new Error("try again");
            if (number === 4) throw new Error("stop", { cause: 4401 });
            return new URL(`/echo?ticket=${number}&aborted=${signal.aborted}`, location.href);
          });
        }"""
    )
    wait_for(page, "a", CONNECTING, OPEN)
    page.evaluate("clients.a.reconnect()")
    wait_for(page, "a", closed(1006, True), CONNECTING, closed(1006, True), CONNECTING, OPEN)
    page.evaluate("clients.a.reconnect()")
    wait_for(page, "a", closed(1006, True), CONNECTING, closed(4401, False))
    assert server.sockets("/echo") == [{"ticket": [number], "aborted": ["false"]} for number in "13"]


def test_closing_aborts_the_url(page, server):
    """A client that is closed meanwhile opens no socket."""
    page.evaluate(
        """() => open("a", (signal) => new Promise((resolve) =>
          signal.addEventListener("abort", () => resolve("/echo"))))"""
    )
    page.evaluate("clients.a.close()")
    page.wait_for_timeout(500)
    assert reports(page, "a") == [CONNECTING, closed(1000, False)]
    assert server.visits == []


def test_silent_server_is_left(page, server):
    """A consumer that does not answer the first ping is given up after ten seconds."""
    page.evaluate("open('a', '/silent')")
    wait_for(page, "a", CONNECTING, OPEN, closed(1006, True), CONNECTING, OPEN)


def test_network_is_probed(page, server):
    """A client that waits to reconnect does so at once when the browser is online again."""
    page.evaluate("open('a', '/echo')")
    wait_for(page, "a", OPEN)
    page.evaluate("dispatchEvent(new Event('offline'))")
    wait_until(lambda: server.frames == [{"type": "ping"}] * 2, "a ping")
    probe = "clients.a.reconnect(); dispatchEvent(new Event('online')); clients.a.status"
    assert page.evaluate(probe) == "connecting"
    wait_for(page, "a", closed(1006, True), CONNECTING, OPEN)


def test_example_of_the_manual_loses_nothing(page, server):
    """The first example sends again what was not stored, asks for what it missed, and shows a refusal."""
    page.goto(f"{server.url}/example/0")
    status = page.get_by_role("status")
    expect(status).to_have_text("open")
    for number, text in enumerate(["one", "two"], 1):
        page.get_by_role("textbox").fill(text)
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("listitem")).to_have_count(number)
    assert page.get_by_role("listitem").all_text_contents() == ["one", "two"]
    assert [note["text"] for note in server.frames] == ["one", "two"]
    wait_until(lambda: page.wait_for_timeout(20) or len(server.visits) == 3, "a third socket")
    expect(status).to_have_text("open")
    page.get_by_role("textbox").fill("bad")
    page.get_by_role("button", name="Send").click()
    expect(status).to_have_text("Too bad.")
    assert server.sockets("/notes") == [{}, {}, {"after": ["2"]}]


def test_example_of_the_manual_fetches_a_pass(page, server):
    """The second example asks for a pass before it connects."""
    page.goto(f"{server.url}/example/1")
    wait_until(lambda: page.wait_for_timeout(20) or server.visits, "a socket")
    assert server.visits == [("/notes", {"pass": ["7"]})]


def test_manual_lists_every_code():
    """The tables have the close codes and the error codes of the engine, and whether the client reconnects."""
    code = "".join(path.read_text(encoding="utf-8") for path in ENGINE.rglob("*.py"))
    close = re.findall(r"^    [A-Z_]+ = (\d{4})$", (ENGINE / "protocol.py").read_text(encoding="utf-8"), re.M)
    rows = dict(re.findall(r"^\| (\d{4}) \|.*\| (\w+)", MANUAL, re.M))
    assert {int(number) for number in rows} == {*map(int, close), *RECONNECT}
    assert {int(number) for number, action in rows.items() if action == "reconnects"} == RECONNECT
    _, _, errors = MANUAL.partition("## Errors")
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", errors, re.M)))
    assert set(named) == set(re.findall(r"EventError\(\s*\"(\w+)\"", code))
