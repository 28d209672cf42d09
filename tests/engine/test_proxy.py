"""Addresses of clients behind trusted proxies."""

from ipaddress import ip_network

import pytest

from realtime.proxy import MAX_NAMED, TrustedProxies, network_of

NEAR, FAR, CLIENT = "10.0.0.2", "10.0.0.1", "203.0.113.7"


@pytest.fixture(autouse=True)
def networks(settings):
    settings.FORWARDED_ALLOW_IPS = [ip_network("10.0.0.0/24")]


async def scope_behind(peer, forwarded):
    """Return the scope of the application for a connection from the peer with this X-Forwarded-For."""
    scopes = []

    async def inner(scope, receive, send):
        scopes.append(scope)

    fields = [(b"x-forwarded-proto", b"https"), (b"host", b"site.example.com")]
    if forwarded is not None:
        fields.append((b"x-forwarded-for", forwarded.encode()))
    await TrustedProxies(inner)({"type": "http", "client": (peer, 5000), "headers": fields}, None, None)
    return scopes[0]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (CLIENT, CLIENT),
        (f"{CLIENT}, {FAR}", CLIENT),  # through two proxies
        (f"6.6.6.6, {CLIENT}", CLIENT),  # the client's own claim is leftmost
        (f"6.6.6.6, {CLIENT}, {FAR}", CLIENT),
        ("2001:db8::7", "2001:db8::7"),
        ("unknown", NEAR),
        (None, NEAR),
    ],
)
async def test_client_is_the_one_that_the_outermost_proxy_saw(forwarded, client):
    """A trusted proxy's headers give the client's address and scheme."""
    scope = await scope_behind(NEAR, forwarded)
    assert scope["client"][0] == client
    assert (b"x-forwarded-proto", b"https") in scope["headers"]


@pytest.mark.parametrize("peer", ["203.0.113.8", "::1", ""])
async def test_headers_of_untrusted_peers_are_removed(peer):
    """An untrusted peer keeps its own address, and its forwarding headers are removed."""
    scope = await scope_behind(peer, CLIENT)
    assert scope["client"][0] == peer
    assert scope["headers"] == [(b"host", b"site.example.com")]


async def test_mapped_address_matches_its_network():
    """An IPv4 proxy is trusted under its mapped IPv6 address, as servers on both see it."""
    assert (await scope_behind(f"::ffff:{NEAR}", CLIENT))["client"] == (CLIENT, 0)


@pytest.mark.parametrize("peer", [NEAR, "198.51.100.4", "2001:db8::1", "127.0.0.1"])
@pytest.mark.parametrize("forwarded", [CLIENT, f"6.6.6.6, {CLIENT}", f"6.6.6.6, {CLIENT}, {FAR}"])
async def test_any_peer_may_be_trusted(settings, peer, forwarded):
    """The router of a platform reports the client last. What the client itself claims is not believed."""
    settings.FORWARDED_ALLOW_IPS = [ip_network("0.0.0.0/0"), ip_network("10.0.0.0/24")]
    scope = await scope_behind(peer, forwarded)
    assert scope["client"] == (CLIENT, 0)
    assert (b"x-forwarded-proto", b"https") in scope["headers"]
    assert network_of(CLIENT) == CLIENT  # limits count it
    assert network_of(NEAR) == ""


async def test_untrusted_proxies_are_named(caplog):
    """An address that reports HTTPS is logged once, and a few addresses in all. Clients without the header are not."""
    stack = TrustedProxies(take)
    for number in [1, 1, *range(1, 100)]:
        peer = f"203.0.113.{number}"
        await stack({"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-proto", b"https")]}, None, None)
        await stack({"type": "http", "client": (peer, 1), "headers": []}, None, None)
    assert caplog.messages == [
        f"X-Forwarded-Proto of 203.0.113.{number} is ignored. "
        "If your proxy has this address, add it to FORWARDED_ALLOW_IPS."
        for number in range(1, MAX_NAMED + 1)
    ]


async def take(*_):
    pass
