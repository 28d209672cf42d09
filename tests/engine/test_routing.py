"""Paths of sockets by name, and sites that are mounted elsewhere."""

import pytest
from channels.middleware import BaseMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.template import Context, Template
from django.test import Client
from django.urls import NoReverseMatch, include, path, re_path, reverse

from realtime.asgi import RealtimeMiddlewareStack
from realtime.auth import public
from realtime.consumers import SyncRealtimeConsumer
from realtime.middleware import is_for_operators
from realtime.proxy import TrustedProxies
from realtime.routing import socket_path
from realtime.testing import SocketClient


class PageConsumer(SyncRealtimeConsumer):
    """Consumer that knows the page of its socket, which only its thread reverses."""

    def joined(self):
        self.send_event({"type": "welcome", "page": reverse("page")})


class Wrapper:
    """Middleware as many packages write it."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, *arguments):
        await self.app(*arguments)


class Secret:
    """Middleware that does not show what is inside."""

    def __init__(self, inner):
        self.__inner = inner


consumer = public(PageConsumer.as_asgi())
inner = [path("<int:pk>/", consumer, name="thing"), re_path(r"^any/(\w+)/$", consumer, name="any")]
routes = [
    path("ws/page/", consumer, name="page"),
    path("ws/<str:kind>/", URLRouter(inner)),
    re_path(r"^live/", BaseMiddleware(URLRouter([path("ws/late/", consumer, name="late")]))),
    re_path(r"", consumer),
]
application = TrustedProxies(
    Wrapper(ProtocolTypeRouter({"websocket": RealtimeMiddlewareStack(AllowedHostsOriginValidator(URLRouter(routes)))}))
)
below = TrustedProxies(RealtimeMiddlewareStack(URLRouter(routes)))
unknown = ProtocolTypeRouter({"websocket": Secret(URLRouter(routes))})
pages = ProtocolTypeRouter({"http": consumer})
urlpatterns = [path("page/", consumer, name="page"), path("ops/", include("realtime.urls"))]


@pytest.fixture(autouse=True)
def site(settings):
    """Use the routes and URLs of this module."""
    settings.ASGI_APPLICATION = "engine.test_routing.application"
    settings.ROOT_URLCONF = "engine.test_routing"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"name": "page"}, "/ws/page/"),
        ({"name": "late"}, "/live/ws/late/"),
        ({"name": "thing", "kind": "big", "pk": 7}, "/ws/big/7/"),
        ({"name": "thing", "kind": "a b/é", "pk": 7}, None),
        ({"name": "missing"}, None),
    ],
)
def test_path_follows_routers_and_middleware(arguments, expected):
    """A route is found by its name through every layer, and only with the arguments of its path."""
    if expected is None:
        with pytest.raises(NoReverseMatch):
            socket_path(**arguments)
    else:
        assert socket_path(**arguments) == expected


def test_path_takes_positions_and_encodes_them():
    """Arguments by position work, as in `reverse`."""
    assert socket_path("thing", "é ?", 7) == "/ws/%C3%A9%20%3F/7/"


def test_template_shows_a_path():
    """The tag is the function, and its arguments may be variables."""
    template = Template("{% load realtime %}{% socket_path 'thing' kind='big' pk=number %}")
    assert template.render(Context({"number": 7})) == "/ws/big/7/"


@pytest.mark.parametrize("name", ["unknown", "pages"])
def test_missing_router_is_explained(settings, name):
    """An application whose router cannot be found is named, with the way out."""
    settings.ASGI_APPLICATION = f"engine.test_routing.{name}"
    with pytest.raises(ImproperlyConfigured, match=f"'engine.test_routing.{name}' leads to no URLRouter. Name what"):
        socket_path("page")


@pytest.mark.parametrize("prefix", [None, "/sub", "/sub/"])
@pytest.mark.parametrize("mount", ["", "/sub"])
async def test_socket_is_mounted_as_its_page(database, settings, prefix, mount):
    """A prefix may arrive or be removed before. Consumers reverse paths with it."""
    settings.FORCE_SCRIPT_NAME = prefix
    socket = await SocketClient.connect(below, f"{mount}/ws/page/")
    page = "/sub/page/" if prefix else "/page/"
    assert await socket.receive() == {"type": "welcome", "page": page}
    await socket.disconnect()


@pytest.mark.parametrize(("address", "expected"), [("/sub", "/sub"), ("/subway/", "/sub/subway/"), ("/", "/sub/")])
async def test_prefix_ends_where_a_part_of_the_path_ends(settings, address, expected):
    """Requests get a path that contains the mount point, as ASGI requires."""
    settings.FORCE_SCRIPT_NAME = "/sub"
    scopes = []

    async def inner(scope, receive, send):
        scopes.append((scope["path"], scope["root_path"]))

    await TrustedProxies(inner)({"type": "http", "path": address, "headers": []}, None, None)
    assert scopes == [(expected, "/sub")]


def test_probe_is_recognised_where_it_is_mounted(settings):
    """Operators name any host at their own paths only."""
    settings.ALLOWED_HOSTS = ["site.example.com"]
    assert [Client().get(f"/ops/{name}").status_code for name in ("healthz", "metrics")] == [200, 200]
    request = HttpRequest()
    for request.path_info in ("/healthz", "/page/healthz", "/ops/healthz/", "/ops/"):
        assert not is_for_operators(request)
