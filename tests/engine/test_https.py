"""Refusal of WebSockets over plain HTTP."""

from ipaddress import ip_network

import pytest

from realtime.asgi import RealtimeMiddlewareStack
from realtime.proxy import TrustedProxies

NEAR, CLIENT = "10.0.0.2", "203.0.113.7"


@pytest.fixture(autouse=True)
def production(settings):
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.FORWARDED_ALLOW_IPS = [ip_network("10.0.0.0/24")]
    settings.REALTIME_AUTHENTICATORS = []


async def answer(peer, scheme="ws", **fields):
    """Return the type of the first message to a client without an account: an accept, or a refusal."""
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])

    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    scope = {"type": "websocket", "scheme": scheme, "path": "/", "client": peer and (peer, 5000), "headers": headers}
    await TrustedProxies(RealtimeMiddlewareStack(None))({**scope, "query_string": b""}, receive, send)
    return sent[0].removeprefix("websocket.")


@pytest.mark.parametrize(
    ("fields", "answered"),
    [
        ({"peer": CLIENT}, "close"),
        ({"peer": CLIENT, "x_forwarded_proto": "https"}, "close"),  # the client's own claim
        ({"peer": CLIENT, "scheme": "wss"}, "accept"),
        ({"peer": NEAR, "x_forwarded_for": CLIENT, "x_forwarded_proto": "http"}, "close"),
        ({"peer": NEAR, "x_forwarded_for": CLIENT}, "close"),
        ({"peer": NEAR, "x_forwarded_for": CLIENT, "x_forwarded_proto": "https"}, "accept"),
        ({"peer": "127.0.0.1"}, "accept"),  # nothing passes the network
        ({"peer": None}, "close"),
    ],
)
async def test_plain_sockets_are_refused(fields, answered):
    """A handshake is answered with 403 unless the client, or a trusted proxy, uses TLS."""
    assert await answer(**fields) == answered


async def test_development_takes_plain_sockets(settings):
    """`SECURE_SSL_REDIRECT` decides, as for pages."""
    settings.SECURE_SSL_REDIRECT = False
    assert await answer(CLIENT) == "accept"
