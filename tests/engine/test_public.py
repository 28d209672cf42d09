"""Paths that routing opens to visitors who have not signed in."""

import json

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import URLRouter
from django.contrib.sessions.backends.db import SessionStore
from django.urls import path, re_path, register_converter
from django.urls.converters import StringConverter
from django.urls.exceptions import Resolver404
from websockets.asyncio.client import connect as connect_to

from engine.people import cookies_of
from engine.routing import consumers
from realtime.asgi import RealtimeMiddlewareStack
from realtime.auth import public
from realtime.connection_limit import ConnectionLimit
from realtime.proxy import TrustedProxies
from realtime.testing import SocketClient


def who(user):
    return {"type": "who", "user": str(user), "pk": str(user.pk)}


class AsyncStatus(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send_json(who(self.scope["user"]))


class SyncStatus(JsonWebsocketConsumer):
    def connect(self):
        self.accept()
        self.send_json(who(self.scope["user"]))


class Lost(AsyncStatus):
    async def connect(self):
        raise Resolver404


class Router(URLRouter):
    """A router that may route in a way of its own."""


class Shouting(StringConverter):
    def to_python(self, value):
        if not value.isupper():
            raise ValueError(value)
        return value


register_converter(Shouting, "shouting")

status = AsyncStatus.as_asgi()
ROUTES = [
    path("ws/async/", public(AsyncStatus.as_asgi())),
    path("ws/sync/", public(SyncStatus.as_asgi())),
    path("ws/journal/<str:journal>/", public(consumers.JournalConsumer.as_asgi())),
    re_path(r"^ws/number/(?P<number>\d+)/$", public(status)),
    path("ws/<shouting:word>/", public(status)),
    path("ws/nested/", URLRouter([path("open/", public(status)), path("closed/", status)])),
    re_path(r"^ws/deep/", URLRouter([path("er/", URLRouter([path("open/", public(status))]))])),
    path("ws/private/", status),
    path("ws/own/", Router([path("open/", public(status))])),
    path("ws/wrapped/", BaseMiddleware(public(status))),
    path("ws/inside/", public(BaseMiddleware(status))),
    path("ws/lost/", public(Lost.as_asgi())),
    re_path(r"", status),
]
STACK = RealtimeMiddlewareStack(URLRouter(ROUTES))
WRAPPED = RealtimeMiddlewareStack(BaseMiddleware(URLRouter(ROUTES)))
PROXIED = TrustedProxies(STACK)
OPEN = ["async", "sync", "number/7", "HI", "nested/open", "deep/er/open", "inside"]
CLOSED = ["private", "number/seven", "hi", "nested/closed", "nested/more", "deep/er/more", "own/open", "wrapped", "x"]


@pytest.fixture
async def connect(visit):
    """Return a function that opens a socket, by default as a visitor who has not signed in."""
    clients = []

    async def connect(url, application=STACK, **options):
        client = await SocketClient.connect(application, url, **options)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.disconnect()


@pytest.mark.parametrize("name", OPEN)
async def test_public_path_is_open_to_a_guest(connect, name):
    """A visitor is a guest, whatever leads to the path, and another one is another guest."""
    one, other = await connect(f"/ws/{name}/"), await connect(f"/ws/{name}/")
    guests = [await one.receive(), await other.receive()]
    assert all(guest["pk"].startswith("guest-") for guest in guests)
    assert guests[0]["pk"] != guests[1]["pk"]


@pytest.mark.parametrize("name", CLOSED)
async def test_other_paths_stay_closed(connect, name, monkeypatch):
    """A path that is not marked, or is behind an unknown router, closes with 4401 before anything is counted."""
    monkeypatch.setattr(ConnectionLimit, "acquire", None)
    assert await (await connect(f"/ws/{name}/")).close_code() == 4401


@pytest.mark.parametrize("name", [*OPEN, *CLOSED])
async def test_unknown_middleware_closes_every_path(connect, name):
    """Below the stack only URLRouter is understood, since another middleware may change the path."""
    assert await (await connect(f"/ws/{name}/", WRAPPED)).close_code() == 4401


@pytest.mark.parametrize("name", [*OPEN, "private", "nested/closed", "own/open", "wrapped"])
async def test_signed_in_user_keeps_the_account(connect, name):
    """A user is the user on public paths and on others."""
    cookies = await sync_to_async(cookies_of)("ann")
    client = await connect(f"/ws/{name}/", cookies=cookies)
    assert (await client.receive())["user"] == "ann"


async def test_mount_point_is_removed_from_the_path(connect):
    """Paths are matched below `root_path`, as URLRouter does."""
    assert (await (await connect("/site/ws/async/", root_path="/site")).receive())["pk"].startswith("guest-")
    assert await (await connect("/site/ws/private/", root_path="/site")).close_code() == 4401


async def test_guests_meet_in_a_realtime_consumer(connect):
    """Guests have presence and broadcasts like users."""
    ann, bob = await connect("/ws/journal/a/"), await connect("/ws/journal/a/")
    ids = [(await client.receive_until("welcome"))[-1]["user_id"] for client in (ann, bob)]
    await ann.send(type="wave")
    assert (await bob.receive())["user_id"] == ids[0] != ids[1]


async def test_guest_and_stranger_of_a_real_server(serve):
    """A client without a cookie is welcome on the public path, and closed with 4401 on the other."""
    address, _ = await serve()
    url = f"ws://{address}/ws"
    async with connect_to(f"{url}/open/a/") as guest, connect_to(f"{url}/journal/a/") as stranger:
        assert json.loads(await guest.recv())["user_id"].startswith("guest-")
        await stranger.wait_closed()
        assert stranger.close_code == 4401


async def test_guest_of_the_session_keeps_the_id(connect, settings):
    """Sockets of one browser are one guest if a page gave the session an id, and share that guest's limit."""
    settings.REALTIME_MAX_CONNECTIONS = 2
    session = SessionStore()
    session["guest_id"] = "guest-of-this-test"
    await session.asave()
    cookie = [(b"cookie", f"{settings.SESSION_COOKIE_NAME}={session.session_key}".encode())]
    one, other = [await connect("/ws/async/", headers=cookie) for _ in range(2)]
    assert [(await client.receive())["pk"] for client in (one, other)] == ["guest-of-this-test"] * 2
    assert await (await connect("/ws/async/", headers=cookie)).close_code() == 4409
    assert (await connect("/ws/async/")).connected


@pytest.mark.parametrize(
    ("address", "neighbour", "stranger"),
    [("192.0.2.1", "192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")],
    ids=["IPv4", "IPv6"],
)
async def test_guests_of_one_address_are_limited(connect, settings, address, neighbour, stranger):
    """A visitor who becomes ever new guests is bounded by the address, which IPv6 gives out by networks."""
    settings.REALTIME_MAX_GUESTS = 2
    one, other = [await connect("/ws/async/", client=(host, 1)) for host in (address, neighbour)]
    for client in (one, other):
        assert (await client.receive())["pk"]
    assert await (await connect("/ws/async/", client=(neighbour, 1))).close_code() == 4409
    assert (await (await connect("/ws/async/", client=(stranger, 1))).receive())["pk"]
    cookies = await sync_to_async(cookies_of)("ann")
    assert (await (await connect("/ws/async/", client=(address, 1), cookies=cookies)).receive())["user"] == "ann"
    await one.disconnect()
    assert (await (await connect("/ws/async/", client=(address, 1))).receive())["pk"]


async def test_guests_behind_a_silent_proxy_are_not_limited_together(connect, settings):
    """A trusted proxy that names no client stands for many."""
    settings.REALTIME_MAX_GUESTS = 1
    for _ in range(3):
        assert (await (await connect("/ws/async/", PROXIED, client=("127.0.0.1", 1))).receive())["pk"]


async def test_foreign_origin_is_refused_on_a_public_path(connect):
    """A public path is open to visitors, and not to pages of other sites."""
    assert not (await connect("/ws/async/", headers=[(b"origin", b"http://evil.example")])).connected


async def test_public_application_does_not_lead_on(connect, caplog):
    """If a public consumer raises Resolver404, the next route stays closed to its guest."""
    assert await (await connect("/ws/lost/")).close_code() == 1011
    assert "A public application raised Resolver404" in caplog.text


def test_router_is_not_opened_as_a_whole():
    """A router is refused with the fix."""
    with pytest.raises(TypeError, match="each path"):
        public(URLRouter([]))
