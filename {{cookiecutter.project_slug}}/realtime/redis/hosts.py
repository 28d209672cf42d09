"""Hosts of Redis, from REDIS_URL.

If there are several URLs with commas between them, groups are spread over the hosts. The URL of a
master that Sentinel watches lists the sentinels: redis+sentinel://:password@one:26379,two/master/0.
channels_redis does not support Redis Cluster.
"""

import re
from typing import Any

from channels_redis.utils import create_pool
from environs import ValidationError
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import RedisError

# Survive a restart of Redis, and notice a Redis that hangs. Old servers and some proxies do not know
# HELLO, which protocol 3 begins with.
OPTIONS = {
    "protocol": 2,
    "retry": Retry(ExponentialBackoff(cap=1, base=0.05), 3),
    "health_check_interval": 5,
    "socket_timeout": 3,
    "socket_connect_timeout": 3,
}
# If a sentinel is silent, ask the next one soon.
SENTINEL_OPTIONS = {
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
}
CERT_REQS = ("none", "optional", "required")

URL = re.compile(r"(rediss?://([^/?#]*@)?[^/?#@,]+(/\d*)?|unix://[^?#]*/[^?#]+)(\?.*)?")
SENTINEL_URL = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?P<login>[^/?#]*@)?"
    r"(?P<sentinels>[^/?#@,]+(,[^/?#@,]+)*)/(?P<master>[^/?#]+)(?P<rest>(/\d*)?(\?.*)?)"
)


def redis_hosts(value: str) -> list[dict[str, Any]]:
    """Return the options of each host for channels_redis. Errors do not repeat the value."""
    # A comma within a URL stands between sentinels, or in a password.
    urls = re.split(r"\s*,\s*(?=[a-z+]+://)", value.strip())
    try:
        hosts = [parse_host(url) for url in urls]
        for host in hosts:
            if host.get("ssl_cert_reqs", "required") not in CERT_REQS:
                raise ValidationError(f"ssl_cert_reqs is one of {', '.join(CERT_REQS)}.")
            create_pool(host).make_connection()  # fails with an unknown option
    except (TypeError, ValueError, RedisError):
        raise ValidationError(
            "Not a redis://, rediss://, unix:// or redis+sentinel:// URL, "
            "nor several with commas between them."
        ) from None
    return hosts


def parse_host(url: str) -> dict[str, Any]:
    if match := SENTINEL_URL.fullmatch(url):
        return parse_sentinels(**match.groupdict(default=""))
    if not URL.fullmatch(url):
        raise ValueError
    return {**OPTIONS, **parse_url(url)}


def parse_sentinels(
    scheme: str, login: str, sentinels: str, master: str, rest: str
) -> dict[str, Any]:
    """Return the options of a master. If it has TLS, the sentinels have it too."""
    addresses = [parse_url(f"redis://{sentinel}") for sentinel in sentinels.split(",")]
    options: dict[str, Any] = {**parse_url(f"{scheme}://{login}{master}{rest}")}
    return {
        "sentinel_kwargs": {
            **SENTINEL_OPTIONS,
            **{name: options[name] for name in options if name.startswith("ssl_")},
            "ssl": scheme == "rediss",
            "username": options.pop("sentinel_username", None),
            "password": options.pop("sentinel_password", None),
        },
        "sentinels": [(address["host"], address.get("port", 26379)) for address in addresses],
        "master_name": master,
        **OPTIONS,
        **options,
        "connection_class": MasterTLSConnection if scheme == "rediss" else MasterConnection,
    }


class MasterConnection(SentinelManagedConnection):
    """Connection that asks for the master each time. redis-py's own does not after an error."""

    async def _connect(self) -> None:
        self.host, self.port = await self.connection_pool.get_master_address()
        await super()._connect()  # type: ignore[no-untyped-call]


class MasterTLSConnection(MasterConnection, SentinelManagedSSLConnection):
    pass
