"""Trusted proxies, which report the address and scheme of their clients, or remove a prefix."""

import logging
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from django.urls import set_script_prefix

from realtime import logs
from realtime.conf import settings
from realtime.types import Application, Receive, Scope, Send, headers

FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
MAX_NAMED = 10  # untrusted addresses in the log of a process; the others are not logged

logger = logging.getLogger(__name__)


class TrustedProxies:
    """Middleware that reads the client's address from the proxies in `FORWARDED_ALLOW_IPS`.

    Removes the headers of others, so that a client cannot make plain HTTP look like HTTPS. The
    network of all addresses trusts any peer, but no address that a proxy reports. Mounts pages and
    sockets at `FORCE_SCRIPT_NAME`.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner
        self.named: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            scope = mounted(self.seen_by_proxies(scope))
            logs.begin(client=logs.address(scope))
        await self.inner(scope, receive, send)

    def seen_by_proxies(self, scope: Scope) -> Scope:
        """Return the scope with the client of the outermost trusted proxy."""
        client = scope.get("client") or ("", 0)
        if not trusted(client[0]) and not any_peer_is_trusted():
            self.name_untrusted(scope)
            kept = [(name, value) for name, value in scope["headers"] if name not in FORWARDED]
            return {**scope, "headers": kept}
        for hop in reversed(",".join(headers(scope, b"x-forwarded-for")).split(",")):
            if parse(hop) is None:
                break
            client = (hop.strip(), 0)
            if not trusted(hop):
                break
        return {**scope, "client": client}

    def name_untrusted(self, scope: Scope) -> None:
        """Log an address once, if it may be a proxy. Its HTTPS would be redirected forever."""
        host = logs.address(scope)
        is_proxy = any(name == b"x-forwarded-proto" for name, _ in scope["headers"])
        if is_proxy and host not in self.named and len(self.named) < MAX_NAMED:
            self.named.add(host)
            logger.warning(
                "X-Forwarded-Proto of %s is ignored. If your proxy has this address, "
                "add it to FORWARDED_ALLOW_IPS.",
                host,
            )


def mounted(scope: Scope) -> Scope:
    """Return the scope with `FORCE_SCRIPT_NAME` as its mount point.

    A proxy may pass the prefix on, or remove it. Paths have it after this, as ASGI requires and
    URLRouter expects. Consumers and their threads reverse paths with it.
    """
    prefix = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    if not prefix:
        return scope
    set_script_prefix(prefix)
    path = scope["path"]
    below = f"{path}/".startswith(f"{prefix}/")
    return {**scope, "root_path": prefix, "path": path if below else prefix + path}


@lru_cache(4096)  # each handshake parses its address several times
def parse(host: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address. Return None if it is invalid."""
    try:
        address = ip_address(host.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def trusted(host: str) -> bool:
    """Return whether a host is one of the proxies. A Unix socket has no address and is not one."""
    address = parse(host)
    return address is not None and any(
        address in network for network in settings.FORWARDED_ALLOW_IPS if network.prefixlen
    )


def any_peer_is_trusted() -> bool:
    """Return whether a proxy may have any address, as the routers of platforms do."""
    return any(not network.prefixlen for network in settings.FORWARDED_ALLOW_IPS)


def network_of(host: str) -> str:
    """Return the IPv4 address or the IPv6 network of one subscriber, under which to count clients.

    One subscriber has all addresses of a /64. Return "" if the host is unknown, or is a trusted
    proxy, which stands for many clients.
    """
    address = parse(host)
    if address is None or trusted(host):
        return ""
    return str(address if address.version == 4 else IPv6Network((address, 64), strict=False))
