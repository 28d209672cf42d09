"""What a proxy says about its clients is believed, and what anybody else says is not."""

from ipaddress import ip_network
from typing import Any

import pytest
from pytest_django import Settings

from realtime.proxy import TrustedProxies
from realtime.types import Receive, Scope, Send

NEAR, FAR, CLIENT = "10.0.0.2", "10.0.0.1", "203.0.113.7"


@pytest.fixture(autouse=True)
def networks(settings: Settings) -> None:
    settings.FORWARDED_ALLOW_IPS = [ip_network("10.0.0.0/24")]


async def seen(peer: str, forwarded: str | None) -> Scope:
    """The scope that the application gets, for a connection from the peer with this header."""
    scopes: list[Scope] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    fields = [(b"x-forwarded-proto", b"https"), (b"host", b"chat.example.com")]
    if forwarded is not None:
        fields.append((b"x-forwarded-for", forwarded.encode()))
    application: Any = TrustedProxies(inner)
    await application({"type": "http", "client": (peer, 5000), "headers": fields}, None, None)
    return scopes[0]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (CLIENT, CLIENT),
        (f"{CLIENT}, {FAR}", CLIENT),  # through two proxies
        (f"6.6.6.6, {CLIENT}", CLIENT),  # what the client made up stands to the left
        (f"6.6.6.6, {CLIENT}, {FAR}", CLIENT),
        ("2001:db8::7", "2001:db8::7"),
        ("unknown", NEAR),
        (None, NEAR),
    ],
)
async def test_the_client_is_whom_the_outermost_proxy_saw(
    forwarded: str | None, client: str
) -> None:
    """And the scheme is the one that it spoke."""
    scope = await seen(NEAR, forwarded)
    assert scope["client"][0] == client
    assert (b"x-forwarded-proto", b"https") in scope["headers"]


@pytest.mark.parametrize("peer", ["203.0.113.8", "::1", ""])
async def test_strangers_are_not_believed(peer: str) -> None:
    """Their headers are gone, and the others are not."""
    scope = await seen(peer, CLIENT)
    assert scope["client"][0] == peer
    assert scope["headers"] == [(b"host", b"chat.example.com")]


async def test_an_address_of_version_4_may_come_as_one_of_version_6() -> None:
    """As it does where the server listens on both."""
    assert (await seen(f"::ffff:{NEAR}", CLIENT))["client"] == (CLIENT, 0)
