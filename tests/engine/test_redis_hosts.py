"""Values of REDIS_URL."""

import pytest
from environs import ValidationError
from redis.asyncio.connection import SSLConnection

from realtime import conf
from realtime.layers import probe
from realtime.redis.hosts import MasterConnection, MasterTLSConnection, redis_hosts

HOSTS = conf.settings.REDIS_HOSTS


def parse(value):
    """Return the hosts without their common options."""
    common = {"protocol", "retry", "health_check_interval", "socket_timeout", "socket_connect_timeout"}
    return [{name: option for name, option in host.items() if name not in common} for host in redis_hosts(value)]


def test_host_is_parsed():
    """A host may have a user, a password and a database number, or be a socket file."""
    assert parse("redis://localhost") == [{"host": "localhost"}]
    assert parse("redis://ann:p%2Fw@[::1]:1/2") == [
        {"username": "ann", "password": "p/w", "host": "::1", "port": 1, "db": 2}
    ]
    (host,) = parse("unix:///run/redis.sock?db=3")
    assert (host["path"], host["db"]) == ("/run/redis.sock", 3)


def test_host_with_tls_is_parsed():
    """Options in the URL are those of redis-py, and override ours."""
    (host,) = redis_hosts("rediss://redis:6380/0?ssl_ca_certs=/ca.pem&socket_timeout=9")
    assert host["connection_class"] is SSLConnection
    assert (host["ssl_ca_certs"], host["socket_timeout"]) == ("/ca.pem", 9)
    assert host["health_check_interval"] > 0


def test_several_hosts_are_parsed():
    """Commas separate hosts, except within a password."""
    hosts = redis_hosts("redis://:a,b@one:1/0, redis://two, redis+sentinel://s,t/three")
    assert [host.get("master_name", host["host"]) for host in hosts] == ["one", "two", "three"]
    assert hosts[0]["password"] == "a,b"


def test_sentinels_are_parsed():
    """The password is the master's unless the sentinels have their own. TLS is used for both."""
    (host,) = parse("redis+sentinel://:pw@one:1,two/main/4?sentinel_password=other")
    assert host["sentinels"] == [("one", 1), ("two", 26379)]
    assert (host["master_name"], host["password"], host["db"]) == ("main", "pw", 4)
    assert host["connection_class"] is MasterConnection
    assert (host["sentinel_kwargs"]["password"], host["sentinel_kwargs"]["ssl"]) == ("other", False)
    (host,) = parse("rediss+sentinel://one/main?ssl_ca_certs=/ca.pem")
    assert host["connection_class"] is MasterTLSConnection
    assert (host["ssl_ca_certs"], host["sentinel_kwargs"]["ssl_ca_certs"]) == ("/ca.pem",) * 2
    assert (host["sentinel_kwargs"]["password"], host["sentinel_kwargs"]["ssl"]) == (None, True)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis://",
        "redis://:secret@",
        "redis://:secret@host:port",
        "redis://:secret@host/name",
        "redis://:secret#@host",
        "redis://:sec/ret@host",
        "redis://:secret@host?unknown=1",
        "redis://one:1,two:2",
        "redis://one,",
        "redis+sentinel://:secret@one:1",
        "redis+sentinel://one,,two/main",
        "redis+sentinel://one:port/main",
    ],
)
def test_invalid_url_is_refused(value):
    """The error does not repeat the URL, which may contain a password."""
    with pytest.raises(ValidationError) as refused:
        redis_hosts(value)
    assert str(refused.value) == (
        "Not a redis://, rediss://, unix:// or redis+sentinel:// URL, nor several with commas between them."
    )


def test_hosts_need_no_hello():
    """Old servers and proxies do not know it. The URL may choose the newer protocol."""
    (host, newer) = redis_hosts("redis://localhost,redis://localhost?protocol=3")
    assert (host["protocol"], newer["protocol"]) == (2, 3)


@pytest.mark.parametrize("url", ["rediss://:secret@host:1234", "rediss+sentinel://:secret@host:1234/main"])
def test_certificates_may_be_unchecked(url):
    """The certificates of some platforms are self-signed. A wrong value is named, and not the password."""
    (host,) = redis_hosts(f"{url}?ssl_cert_reqs=none")
    assert host["ssl_cert_reqs"] == "none"
    with pytest.raises(ValidationError) as refused:
        redis_hosts(f"{url}?ssl_cert_reqs=CERT_NONE")
    assert str(refused.value) == "ssl_cert_reqs is one of none, optional, required."


async def test_every_host_is_probed(settings, unused_tcp_port):
    """The error names each unavailable host, and no password."""
    closed = f"127.0.0.1:{unused_tcp_port}"
    settings.REDIS_HOSTS = [
        *HOSTS,
        *redis_hosts(f"redis://:secret@{closed},redis+sentinel://:secret@{closed}/main"),
    ]
    with pytest.raises(ConnectionError) as unavailable:
        await probe()
    assert str(unavailable.value).startswith(f"{closed} (")
    assert "; main (" in str(unavailable.value)
    assert "secret" not in str(unavailable.value)
    assert unavailable.value.__notes__ == ["Start Redis, or fix REDIS_URL."]
