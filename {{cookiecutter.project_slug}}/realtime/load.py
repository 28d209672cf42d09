"""Load test of numbered events on a running site, which a subclass of `Load` describes.

Its connections behave as `client.js` does. The exit code is 1 if an event was lost, doubled or not
acknowledged, or if the site could not be used. It needs the package `websockets`.
"""

import asyncio
import json
import math
import os
import random
import re
import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib import import_module
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from realtime.open_files import allow_many_files

RECONNECT_CODES = {1001, 1006, 1011, 1012, 4012, 4408}
FRAMES_PER_SECOND = 18  # of a user; the site allows 20
PING_SECONDS, ACK_SECONDS, RATE_LIMITED_SECONDS = 25, 10, 2
FLIGHT_SECONDS = 15  # an event that has not arrived after this is lost
HTTP_SECONDS = 30  # fail if a page has not answered after this
BUSY = 0.8  # of a core; above this the client measures itself


class SiteError(Exception):
    """The site cannot be used. The text is one line with the reason or the fix."""


@dataclass
class Options:
    """Options, read from variables of these names in upper case."""

    url: str = "http://127.0.0.1:8000"
    connections: int = 100
    per_user: int = 10  # connections per user; the site allows 20
    per_group: int = 10  # connections per group
    rate: float = 50.0  # events per second, of all connections together
    duration: float = 10.0  # seconds of sending
    ramp: float = 50.0  # connections to open per second
    accounts: str = ""  # a file of users, a name and a password per line, if sign-up is closed

    @property
    def users(self) -> int:
        return math.ceil(self.connections / self.per_user)

    @property
    def groups(self) -> int:
        return math.ceil(self.connections / self.per_group)


def read_options() -> Options:
    """Return the options of the environment. Raise SiteError if one is invalid."""
    options = Options()
    for name, default in asdict(options).items():
        value = os.environ.get(name.upper()) or default
        try:
            setattr(options, name, type(default)(value))
            assert isinstance(default, str) or 0 < getattr(options, name) < math.inf
        except (AssertionError, ValueError):
            raise SiteError(f"{name.upper()}={value}: give a number above 0.") from None
    options.url = options.url.rstrip("/")
    parts = urlsplit(options.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SiteError(f"URL={options.url}: give one like https://chat.example.com.")
    if options.rate > FRAMES_PER_SECOND * options.users:
        raise SiteError(f"RATE={options.rate:g}: a user sends {FRAMES_PER_SECOND} at most.")
    return options


def read_accounts(path: str, wanted: int) -> list[list[str]]:
    """Return names and passwords. Without a file they are empty, for users that sign up."""
    if not path:
        return [["", ""]] * wanted
    lines = Path(path).read_text("utf-8", "replace").splitlines()
    accounts = [words for line in lines if len(words := line.split(maxsplit=1)) == 2]
    if len(accounts) < wanted:
        raise SiteError(f"{path} needs {wanted} lines with a name and a password.")
    return accounts[:wanted]


class Browser:
    """HTTP client that keeps cookies and fills in forms."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies: dict[str, str] = {}

    @property
    def cookie(self) -> str:
        """Return the value of the Cookie header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def submit(self, path: str, **fields: str) -> None:
        """Get the page of a form, fill the form in and send it. Its answer must be a redirect."""
        status, page = self.request("GET", path)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        if status == 404:
            raise SiteError(
                f"{self.url}{path} does not exist. Check URL. If sign-up is closed, open it, or "
                "set ACCOUNTS to a file with a name and a password per line."
            )
        if status != 200 or token is None:
            raise SiteError(f"{self.url}{path} answers {status}, without a form.")
        form = urlencode({**fields, "csrfmiddlewaretoken": token[1]})
        if self.request("POST", path, form)[0] != 302:
            raise SiteError(f"{self.url}{path} does not accept {fields['username']}.")

    def request(self, method: str, path: str, form: str = "") -> tuple[int, str]:
        """Return the status and the text of the answer."""
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        headers = {"Cookie": self.cookie, "Origin": f"{parts.scheme}://{parts.netloc}"}
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection = kind(parts.netloc, timeout=HTTP_SECONDS)
            connection.request(method, parts.path + path, form or None, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            connection.close()
        except (OSError, HTTPException) as error:
            raise SiteError(f"{self.url} does not answer: {error}") from error
        if answer.status == 301 or answer.status >= 500:
            location = answer.headers.get("Location", "")
            raise SiteError(f"{self.url}{path} answers {answer.status} {location}".rstrip())
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer.status, text


class Times(Counter[float]):
    """Histogram of times, to a tenth of a millisecond."""

    def add(self, seconds: float) -> None:
        self[round(seconds * 1000, 1)] += 1

    def row(self) -> str:
        """Return the 50th, 95th and 99th percentile and the maximum, in milliseconds."""
        ranks = [math.ceil(self.total() * share) for share in (0.5, 0.95, 0.99, 1)]
        values, seen = list[float](), 0
        for value in sorted(self):
            seen += self[value]
            values += [value] * sum(rank <= seen for rank in ranks[len(values) :])
        return "".join(f"{value:10.1f}" for value in values) or "         -" * 4


class Client:
    """Connection of one user to one group, reopened as the protocol requires."""

    def __init__(self, load: "Load", number: int, headers: dict[str, str]) -> None:
        self.load, self.headers = load, headers
        self.name = f"{load.name}-{number}"
        self.path = load.path(number % load.options.groups + 1)
        self.socket: ClientConnection | None = None
        self.last: int | None = None  # the greatest `seq` so far
        self.ref = ""  # of the event that is not acknowledged yet
        self.resent: set[str] = set()
        self.events = 0
        self.sent_at = self.retry_at = 0.0
        self.welcomed = self.queued = False
        self.end = ""  # reason for giving up

    async def keep_open(self) -> None:
        """Reconnect with a back-off, until a close code or an HTTP status forbids it."""
        failures = 0
        while not self.end:
            began = time.monotonic()
            why = await self.receive(began)
            self.load.ends[why] += 1
            if why.startswith("HTTP 4") or (why.isdigit() and int(why) not in RECONNECT_CODES):
                self.end = why
            failures = 1 if time.monotonic() - began > PING_SECONDS else failures + 1
            await asyncio.sleep(0.1 + random.random() * min(10, 2 ** (failures - 1)))

    async def receive(self, began: float) -> str:
        """Connect and read. Return the close code, HTTP status or error at the end."""
        query = "" if self.last is None else f"?after={self.last}"
        opening = connect(
            f"ws{self.load.options.url.removeprefix('http')}{self.path}{query}",
            additional_headers=self.headers,
            compression=None,  # compression and a proxy would be measured
            proxy=None,
            close_timeout=2,
        )
        try:
            async with opening as socket:
                self.begin(socket, json.loads(await socket.recv())["seq"], began)
                while True:
                    self.handle(json.loads(await socket.recv()))
        except ConnectionClosed as closed:
            return str(closed.rcvd.code if closed.rcvd else 1006)
        except InvalidStatus as refused:
            return f"HTTP {refused.response.status_code}"
        except (OSError, WebSocketException) as error:
            return getattr(error, "strerror", None) or type(error).__name__
        finally:
            self.socket = None

    def begin(self, socket: ClientConnection, seq: int, began: float) -> None:
        """Use a connection after its first event, which has the `seq` of the latest event."""
        self.load.opening.add(time.monotonic() - began)
        self.load.reconnects += self.welcomed
        self.socket, self.welcomed, self.retry_at = socket, True, 0.0
        if self.last is not None or seq == 0:
            self.load.lost += max(0, (self.last or 0) - seq)  # lost by the site
            self.last = min(seq, self.last or 0)
        self.queue()

    def handle(self, event: dict[str, Any]) -> None:
        """Handle an event after the first."""
        if event["type"] == "gap":
            self.load.gaps += event["before"] - 1 - event["after"]
            self.last = event["before"] - 1
        elif event["type"] == "error":
            self.load.refusals[event["code"]] += 1
            self.retry_at = time.monotonic() + RATE_LIMITED_SECONDS
        elif "seq" in event and "ref" in event:
            self.record(event["seq"], event["ref"])

    def queue(self) -> None:
        """Wait for a turn to send a new event."""
        if not self.ref and not self.queued:
            self.queued = True
            self.load.ready.put_nowait(self)

    def record(self, seq: int, ref: str) -> None:
        """Record the time of a numbered event, and check that it follows the last one."""
        load, now = self.load, time.monotonic()
        last = seq - 1 if self.last is None else self.last
        load.doubled += seq <= last and ref not in self.resent
        load.lost += max(0, seq - last - 1)
        self.last = max(seq, last)
        load.latest[self.path] = max(seq, load.latest[self.path])
        if ref not in load.sent:
            return  # of another connection
        load.doubled += load.stored.setdefault(ref, seq) != seq
        if ref == self.ref:
            load.own.add(now - load.sent[ref])
            self.ref = ""
            self.queue()
        elif seq > last:
            load.others.add(now - load.sent[ref])

    async def send(self) -> None:
        """Send the next event, or the one that is not acknowledged again."""
        self.sent_at = time.monotonic()
        self.retry_at = self.sent_at + ACK_SECONDS
        if self.ref:
            self.resent.add(self.ref)
        else:
            self.events += 1
            self.ref = f"{self.name}-{self.events}"
            self.load.sent[self.ref] = self.sent_at
        await self.write(self.load.event(self.ref))

    async def write(self, event: dict[str, Any]) -> None:
        with suppress(ConnectionClosed):
            if self.socket:
                await self.socket.send(json.dumps(event))

    def is_settled(self) -> bool:
        """Return whether all events have arrived and are acknowledged, or it gave up."""
        complete = self.last is None or self.last >= self.load.latest[self.path]
        return bool(self.end) or (complete and not self.ref)


class Load(ABC):
    """Connections to the groups of a running site, with their measurements.

    A subclass is run by `main()`. The first event of its sockets has the `seq` of the latest event
    of the group, and numbered events have the `ref` of their sender, as `History` explains.
    """

    @abstractmethod
    def sign_in(self, browser: Browser, name: str, password: str) -> dict[str, str]:
        """Return headers for the sockets of a user. Without a name, sign a new one up."""

    @abstractmethod
    def path(self, group: int) -> str:
        """Return the path of a socket in a group. Groups are numbered from 1."""

    @abstractmethod
    def event(self, ref: str) -> dict[str, Any]:
        """Return an event for the site, which is sent to the group with a `seq` and this `ref`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.name = secrets.token_hex(4)
        self.clients: list[Client] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.ready: asyncio.Queue[Client] = asyncio.Queue()
        self.sent: dict[str, float] = {}  # time by ref
        self.stored: dict[str, int] = {}  # seq by ref
        self.latest: Counter[str] = Counter()  # seq by path
        self.opening, self.own, self.others = Times(), Times(), Times()
        self.ends: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.lost = self.doubled = self.gaps = self.reconnects = 0
        # Wall time, CPU time and deliveries at the start, after opening, after the last event.
        self.marks: list[tuple[float, float, int]] = []

    async def run(self) -> None:
        """Sign users in, connect and send. At the end or at Ctrl-C, wait for events in flight."""
        with suppress(asyncio.CancelledError):
            await self.open(await self.users())
            await self.send()
        self.mark()
        await self.wait_until(lambda: all(client.is_settled() for client in self.clients))
        for client in self.clients:
            if client.last is not None and not client.end:
                self.lost += self.latest[client.path] - client.last
        for task in self.tasks:
            task.cancel()
        for result in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def users(self) -> list[dict[str, str]]:
        """Return the headers of as many users as needed."""
        wanted = self.options.users
        show(f"{wanted} users sign in …")

        async def sign_in(account: list[str]) -> dict[str, str]:
            return await asyncio.to_thread(self.sign_in, Browser(self.options.url), *account)

        # One first: an error that affects it affects all.
        first, *others = read_accounts(self.options.accounts, wanted)
        return [await sign_in(first), *await asyncio.gather(*map(sign_in, others))]

    async def open(self, users: list[dict[str, str]]) -> None:
        """Open one connection, which must succeed, then the others at their rate."""
        self.mark()
        options = self.options
        self.clients = [
            Client(self, number, users[number // options.per_user])
            for number in range(options.connections)
        ]
        first = self.clients[0]
        for number, client in enumerate(self.clients):
            due = self.marks[0][0] + number / options.ramp
            await asyncio.sleep(due - time.monotonic())
            self.tasks.append(asyncio.create_task(client.keep_open()))
            if client is first:
                await self.wait_until(lambda: first.welcomed or bool(self.ends))
            if not first.welcomed:
                why = ", ".join(self.ends) or "no first event"
                raise SiteError(f"{options.url}{first.path} does not open: {why}.")
        self.tasks.append(asyncio.create_task(self.watch()))
        await self.wait_until(lambda: all(client.welcomed or client.end for client in self.clients))

    async def send(self) -> None:
        """Send events at the rate, from the connections that waited longest."""
        self.mark()
        due = self.marks[-1][0]
        with suppress(TimeoutError):
            async with asyncio.timeout(self.options.duration):
                while True:
                    client = await self.ready.get()
                    client.queued = False
                    start = max(due, client.sent_at + 1 / FRAMES_PER_SECOND)
                    await asyncio.sleep(start - time.monotonic())
                    # Only a little of a delay is made up for, to avoid bursts.
                    due = max(due, time.monotonic() - 0.1) + 1 / self.options.rate
                    if client.socket:
                        await client.send()

    async def watch(self) -> None:
        """Resend and ping on time, and show the progress."""
        for second in count():
            connected = sum(client.socket is not None for client in self.clients)
            show(f"{connected} connected, {len(self.sent)} sent, {self.others.total()} delivered …")
            await asyncio.sleep(1)
            for number, client in enumerate(self.clients):
                if client.ref and client.retry_at < time.monotonic():
                    await client.send()
                if number % PING_SECONDS == second % PING_SECONDS:
                    await client.write({"type": "ping"})

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(FLIGHT_SECONDS * 50):
            if condition():
                return
            await asyncio.sleep(0.02)

    def mark(self) -> None:
        self.marks.append((time.monotonic(), time.process_time(), self.others.total()))

    def report(self) -> bool:
        """Print the measurements. Return whether an event is lost or doubled."""
        show("")
        pairs = pairwise(self.marks)
        spans = [[end - start for start, end in zip(*pair, strict=True)] for pair in pairs]
        spans += [[math.inf, 0, 0]] * 2  # left out by Ctrl-C
        (opening, opening_cpu, _), (sending, sending_cpu, delivered) = spans[:2]
        shares = sending_cpu / sending, opening_cpu / opening
        opened = sum(client.welcomed for client in self.clients)
        sent, acked, rate = len(self.sent), self.own.total(), f"{self.options.rate:g}/s"
        print(f"connections   {opened} of {self.options.connections} ({opened / opening:.1f}/s)")
        print(f"events        {sent} sent ({sent / sending:.1f} of {rate}), {acked} acknowledged")
        print(f"deliveries    {self.others.total()} to others ({delivered / sending:.1f}/s)")
        print(f"faults        {self.lost} lost, {self.doubled} doubled")
        if self.gaps:
            print(f"gaps          {self.gaps} that the site announced, and that were not fetched")
        print(f"reconnects    {self.reconnects}")
        for name, counts in (("ended by", self.ends), ("refused", self.refusals)):
            if counts:
                print(f"{name:14}" + ", ".join(f"{key} ({counts[key]} times)" for key in counts))
        print("milliseconds         p50       p95       p99       max")
        print(f"  opening     {self.opening.row()}")
        print(f"  own event   {self.own.row()}")
        print(f"  others'     {self.others.row()}")
        busy = [round(100 * share) for share in shares]
        print(f"this client   {busy[0]}% of a core, {busy[1]}% while it opened")
        if max(shares) > BUSY:
            print("warning: it is near its limit; run several, with fewer CONNECTIONS each")
        return self.lost + self.doubled > 0 or acked < sent


def show(progress: str) -> None:
    """Show the progress on a terminal, in one line."""
    if sys.stderr.isatty():
        print(progress.ljust(79), end="\r", file=sys.stderr, flush=True)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Create an event loop, of uvloop if it is installed, which is faster."""
    try:
        create = import_module("uvloop").new_event_loop
    except ImportError:
        create = asyncio.new_event_loop
    loop: asyncio.AbstractEventLoop = create()
    return loop


def main(kind: type[Load]) -> None:
    """Run a load test with the options of the environment, print its report, and exit."""
    try:
        load = kind(read_options())
        allow_many_files()
        with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(load.run())
    except (SiteError, OSError) as problem:
        sys.exit(str(problem))
    sys.exit(load.report())
