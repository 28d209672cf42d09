"""Users of an emitted site, with each way to sign in."""

import asyncio
import contextlib
import functools
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

import httpx
from websockets.asyncio.client import connect as connect_asynchronously
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket

PASSWORD = "correct horse battery staple"
TIMEOUT = 30
NO_TLS = False  # httpx's `verify` for http://, where the default reads all trusted certificates for each client
CLOSING = 1  # seconds: the client does not read the server's close behind sixteen unread events
MOST = 20  # connections of a user

numbers = itertools.count(1)


class Person:
    """User with an account, or a guest if the site has no accounts."""

    by_email = False

    def __init__(self, site, auth: str, *, by_email: bool = False) -> None:
        self.site = site
        self.auth = auth
        self.by_email = by_email
        self.http = httpx.Client(
            base_url=site.url,
            timeout=TIMEOUT,
            trust_env=False,
            verify=site.tls or NO_TLS,
            headers={"Origin": site.url, "Referer": f"{site.url}/"},
        )
        self.token = ""
        if auth == "none":
            assert self.http.get("/").status_code == 200
            with self.connect("lobby") as connection:
                self.name = receive(connection)["user"]
        else:
            self.name = f"person{next(numbers)}"
            self.sign_up()
        if auth == "token":
            answer = self.http.post("/api/token/", json={"username": self.login_of(self.name), "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            self.token = answer.json()["token"]

    def login_of(self, name: str) -> str:
        """Return the text by which a user logs in, which sites that sign in by e-mail address change."""
        return f"{name}@example.com" if self.by_email else name

    def sign_up(self) -> None:
        page = self.http.get("/accounts/signup/")
        fields = {"username": self.name, "password1": PASSWORD, "password2": PASSWORD}
        if self.by_email:
            fields["email"] = self.login_of(self.name)
        answer = self.http.post("/accounts/signup/", data={**fields, "csrfmiddlewaretoken": csrf_token(page)})
        assert (answer.status_code, answer.headers["location"]) == (302, "/")

    def ticket(self) -> str:
        """Return the page that a browser fetches before it connects."""
        headers = {"X-CSRFToken": cookie(self.http, "csrftoken")}
        answer = self.http.post("/api/ticket/", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["ticket"]

    def headers(self) -> dict[str, str]:
        """Return the headers that identify the user to a socket."""
        if self.auth == "token":
            return {"Authorization": f"Bearer {self.token}"}
        return self.cookies()

    def cookies(self) -> dict[str, str]:
        """Return the headers that a browser adds by itself."""
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())}

    def sign_out(self) -> None:
        """Log out, or revoke the token."""
        if self.auth == "token":
            answer = self.http.delete("/api/token/", headers=self.headers())
        else:
            answer = self.http.post("/accounts/logout/", headers={"X-CSRFToken": cookie(self.http, "csrftoken")})
        assert answer.status_code in {200, 302}, answer.text

    def connect(self, room: str, query: str = "", site=None, **options) -> ClientConnection:
        """Open a socket in a room, as a program (token) or as a page of the site (others)."""
        options = {"additional_headers": self.headers(), **options}
        return open_socket(site or self.site, f"/ws/chat/{quote(room, safe='')}/{query}", **options)

    def history(self, room: str, query: str = "") -> dict:
        headers = self.headers() if self.auth == "token" else {}
        answer = self.http.get(f"/chat/{quote(room, safe='')}/messages/{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()


def cookie(http: httpx.Client, name: str) -> str:
    """Return the value of a cookie with any prefix: `__Host-`, or the project's own."""
    (value,) = [value for key, value in http.cookies.items() if key.endswith(name)]
    return value


def csrf_token(page: httpx.Response) -> str:
    """Return the hidden field of the first form on a page."""
    assert page.status_code == 200, page.text
    return re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]


def open_socket(site, path: str, **options) -> ClientConnection:
    """Open a WebSocket as a page of the site, unless the options differ."""
    options = {"origin": site.url, "open_timeout": TIMEOUT, "close_timeout": CLOSING, **options}
    connect = Tunnel if site.tls else connect_websocket
    return connect(site.url.replace("http", "ws", 1) + path, proxy=None, ssl=site.tls, **options)


class Tunnel:
    """WebSocket connection over TLS for code without an event loop.

    The library's own reads and writes in two threads. Python's TLS does not support that before 3.13: handshakes hang.
    """

    def __init__(self, url: str, **options) -> None:
        async def connect():
            return await connect_asynchronously(url, **options)

        self.loop = event_loop()  # so that two threads that ask at once get one each
        self.connection = self.wait_for(connect())

    def wait_for(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def recv(self, timeout: float) -> str:
        return self.wait_for(asyncio.wait_for(self.connection.recv(), timeout))

    def send(self, text: str) -> None:
        self.wait_for(self.connection.send(text))

    def __enter__(self) -> "Tunnel":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait_for(self.connection.close())


@functools.cache
def event_loop() -> asyncio.AbstractEventLoop:
    """Run a loop in a thread of its own until the end."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


@contextlib.contextmanager
def unresponsive_socket(site, path: str, headers: dict[str, str]) -> Iterator[None]:
    """Open a WebSocket whose client does nothing more, and does not answer a close."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{site.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", site.port), TIMEOUT) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        assert connection.recv(12) == b"HTTP/1.1 101"
        yield


def receive(connection: ClientConnection) -> dict:
    """Return the next event that is not about presence."""
    while (event := json.loads(connection.recv(TIMEOUT)))["type"] == "presence":
        pass
    return event


def wait_for_users(connection: ClientConnection, *users: str) -> None:
    """Wait until exactly these users are present."""
    while names(json.loads(connection.recv(TIMEOUT)).get("users", ())) != sorted(users):
        pass


def names(users) -> list[str]:
    """Return the display names in an event about users."""
    return [user["user"] for user in users]


def close_code(connection: ClientConnection) -> int | None:
    """Return the code of the next close, and skip the events before it."""
    try:
        while True:
            connection.recv(TIMEOUT)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def send(connection: ClientConnection, **event) -> None:
    connection.send(json.dumps(event))


def say(connection: ClientConnection, ref: str, text: str) -> dict:
    """Send a message. Return the event that acknowledges it."""
    send(connection, type="send", ref=ref, text=text)
    return receive(connection)


def hears(speaker, listener, ref):
    """Return whether the other end gets a message within a second. Skips earlier events."""
    send(speaker, type="send", ref=ref, text=ref)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            event = listener.recv(0.2)
        except TimeoutError:
            continue
        if f'"ref":"{ref}"' in event:
            return True
    return False
