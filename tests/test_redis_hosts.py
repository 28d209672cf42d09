"""Forms of REDIS_URL: a Redis with a password and TLS, several hosts, and a master with sentinels."""

import contextlib
import itertools
import re
import time

import pytest
from support.client import Person, close_code, hears, receive, say, send, wait_for_users
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS
from support.servers import Redis, Sentinel, start_site, tls_in_front_of, wait_until

PASSWORD, OTHER_PASSWORD = "sesame-open", "open-sesame"
LOGIN = f"AUTH {PASSWORD}"
CATCHING_UP = 10  # seconds until all clients have the stored messages, whatever happened to Redis

refs = map(str, itertools.count())


@pytest.fixture
def start(cookies, environment, services, request):
    """Return a function that starts server processes of a project with these answers and this REDIS_URL."""
    with contextlib.ExitStack() as stack:

        def start(answers, redis_url, count):
            answers = {**answers, "channel_layer": "redis"}
            project = bake(cookies, **answers)
            python = environment(PYTHONS[-1], CHOICES["django_version"][0])
            environ = environ_for(python, **{**services(answers), "REDIS_URL": redis_url})
            run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
            command = ["uv", "run", "python", "manage.py", "serve"]
            sites = [stack.enter_context(start_site(command, project, environ)) for _ in range(count)]
            return project, environ, sites

        yield start


@contextlib.contextmanager
def running(*servers):
    with contextlib.ExitStack() as stack:
        for server in servers:
            server.start()
            stack.callback(server.stop)
        yield


# The administrator, and the user of a site who may do nothing yet.
USERS = f"""
user default on >{PASSWORD} ~* &* +@all
user site on >{PASSWORD} resetchannels
"""
CHECKS = """
from realtime.checks import channel_layer_answers
from realtime.conf import settings
from realtime.redis.hosts import redis_hosts
for url in {urls}:
    settings.REDIS_HOSTS = redis_hosts(url)
    print(*(f"{{error.msg}} {{error.hint}}" for error in channel_layer_answers()))
"""


def test_password_and_tls(start, tmp_path):
    """Users chat and are counted over TLS, by a user with no more rights than named. A failure names its cause."""
    answers = {"server": "hypercorn", "consumers": "sync", "auth": "none", "database": "sqlite"}
    (tmp_path / "users.acl").write_text(USERS)
    redis = Redis(tmp_path, "--aclfile", str(tmp_path / "users.acl"))
    with running(redis), tls_in_front_of(redis, tmp_path) as (port, authority):
        url = f"rediss://site:{PASSWORD}@127.0.0.1:{port}/0"
        project, environ, (site,) = start(answers, f"{url}?ssl_ca_certs={authority}", 1)
        assert site.probe("readyz") == (503, "away: channel layer\n")
        prefix = environ["REDIS_PREFIX"]
        (rights,) = re.findall(r" what the site needs: ACL SETUSER \S+ (.*)\. \[", site.log.read_text())
        assert rights.replace(prefix, "talking-site") in (project / "docs" / "troubleshooting.md").read_text()
        assert redis.ask(LOGIN, f"ACL SETUSER site {rights}", "ACL LOG RESET") == "+OK\r\n" * 3
        wait_until(lambda: site.probe("readyz") == (200, "ready\n"), "ready with these rights", 5)
        ann, ben = Person(site, "none"), Person(site, "none")
        with ann.connect("tls") as one, ben.connect("tls") as other, contextlib.ExitStack() as stack:
            assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
            message = say(one, "a1", "hi")
            assert receive(other) == message
            assert redis.ask(LOGIN, "KEYS *").count(":connections:") == 2
            for _ in range(19):
                assert receive(stack.enter_context(ann.connect("many")))["type"] == "welcome"
            assert close_code(stack.enter_context(ann.connect("many"))) == 4409
        assert redis.ask(LOGIN, "ACL LOG") == "+OK\r\n*0\r\n"
        urls = [url, f"{url}?ssl_cert_reqs=none".replace(PASSWORD, OTHER_PASSWORD), f"{url}?ssl_cert_reqs=none"]
        command = ["uv", "run", "python", "manage.py", "shell", "--verbosity", "0", "-c", CHECKS.format(urls=urls)]
        unknown, wrong, fine = run(command, project, environ).splitlines()
        address = f"The channel layer does not answer: 127.0.0.1:{port} ("
        assert unknown.startswith(address) and "CERTIFICATE_VERIFY_FAILED" in unknown
        assert ". Add ?ssl_ca_certs=/ca.pem to REDIS_URL, " in unknown
        assert wrong.startswith(f"{address}invalid username-password pair")
        assert wrong.endswith("). Fix user and password in REDIS_URL, such as redis://user:password@host:6379/0.")
        assert fine == ""
        assert PASSWORD not in unknown + wrong + site.log.read_text()


def test_several_hosts(start, tmp_path):
    """Each host has rooms of its own. While one is down, the other's rooms work, and its own a little slower."""
    answers = {"server": "daphne", "consumers": "async", "auth": "session", "database": "postgresql"}
    hosts = [Redis(tmp_path, "--requirepass", PASSWORD) for _ in range(2)]
    with running(*hosts), contextlib.ExitStack() as stack:
        url = ",".join(f"redis://:{PASSWORD}@127.0.0.1:{host.port}/0" for host in hosts)
        project, environ, sites = start(answers, url, 2)
        ann, ben, cem = (Person(site, "session") for site in (*sites, sites[1]))
        with ann.connect("first") as connection:  # only then its process subscribes
            assert receive(connection)["type"] == "welcome"
        # The harder one fails: it also carries the messages between processes.
        doomed, other = sorted(
            hosts,
            key=lambda host: not any(line.endswith(":__group__realtime.processes") for line in subscriptions(host)),
        )
        rooms = find_rooms(hosts, ann)
        pairs = {}
        for host, room in rooms.items():
            one, two = pairs[host] = [stack.enter_context(person.connect(room)) for person in (ann, ben)]
            for connection in (one, two):
                wait_for_users(connection, ann.name, ben.name)
            assert hear_each_other(one, two)

        for strike, mend in ((doomed.stop, doomed.start), (doomed.freeze, doomed.thaw)):
            strike()
            begin = time.monotonic()
            wait_until(lambda: sites[0].probe("readyz") == (503, "away: channel layer\n"), "not ready", 5)
            assert sites[0].probe("healthz") == (200, "ok\n")
            assert hear_each_other(*pairs[other])
            send(pairs[doomed][0], type="send", ref=strike.__name__, text="late")
            with cem.connect(rooms[doomed]) as newcomer:
                for connection in (*pairs[doomed], newcomer):
                    receive_ref(connection, strike.__name__)
            assert time.monotonic() - begin < CATCHING_UP
            assert hear_each_other(*pairs[other])
            if strike == doomed.stop:
                output = failure_of_check(project, environ)
                assert f"127.0.0.1:{doomed.port} (" in output
                assert f"127.0.0.1:{other.port}" not in output
                assert PASSWORD not in output
            mend()
            begin = time.monotonic()
            wait_until(lambda: sites[0].probe("readyz") == (200, "ready\n"), "ready again", 5)
            wait_until(lambda: hear_each_other(*pairs[doomed]), "live again", 15)
            print(f"after {strike.__name__} live again within {time.monotonic() - begin:.1f} s")
        assert all(PASSWORD not in site.log.read_text() for site in sites)


def find_rooms(hosts, person):
    """Find a room on each host by the subscriptions of the site."""
    rooms = {}
    for room in map("room {}".format, range(100)):
        before = set().union(*map(subscriptions, hosts))
        with person.connect(room) as connection:
            assert receive(connection)["type"] == "welcome"
            # The presence of a room may be on another host.
            new = {host: {line for line in subscriptions(host) - before if "presence." not in line} for host in hosts}
            (host,) = (host for host in hosts if new[host])
        rooms[host] = room
        if len(rooms) == len(hosts):
            return rooms
    raise AssertionError(f"all rooms are on {rooms}")


def subscriptions(host):
    """Return the groups that some process is subscribed to on a host."""
    return {line for line in host.ask(LOGIN, "PUBSUB CHANNELS").splitlines() if ":__group__" in line}


def hear_each_other(one, other):
    """Check that each receives the other's messages within a second, too fast for the database."""
    return all(hears(*pair, next(refs)) for pair in [(one, other), (other, one)] * 3)


def receive_ref(connection, ref):
    """Wait for a message as long as the database may take to deliver it."""
    while f'"ref":"{ref}"' not in connection.recv(CATCHING_UP):
        pass


def failure_of_check(project, environ):
    """Return the output of `manage.py check --deploy`, which must fail."""
    with pytest.raises(AssertionError) as failed:
        run(["uv", "run", "python", "manage.py", "check", "--deploy"], project, environ)
    return str(failed.value)


def test_fail_over(start, tmp_path):
    """All clients receive each other's messages after a fail-over of a killed master and of a silent one."""
    answers = {"server": "uvicorn", "consumers": "async", "auth": "token", "database": "sqlite"}
    options = ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
    one = Redis(tmp_path, *options)
    two = Redis(tmp_path, *options, "--replicaof", "127.0.0.1", str(one.port))
    sentinels = [Sentinel(tmp_path, one, PASSWORD, OTHER_PASSWORD) for _ in range(3)]
    with running(one, two, *sentinels):
        wait_until(lambda: all(map(is_ready, sentinels)), "the sentinels know all")
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        url = f"redis+sentinel://:{PASSWORD}@{addresses}/main/0?sentinel_password={OTHER_PASSWORD}"
        _, _, sites = start(answers, url, 2)
        ann, ben = (Person(site, "token") for site in sites)
        with ann.connect("fail-over") as here, ben.connect("fail-over") as there:
            assert (receive(here)["type"], receive(there)["type"]) == ("welcome", "welcome")
            assert hear_each_other(here, there)
            for strike, next_master in ((one.stop, two), (two.freeze, one)):
                strike()
                begin = time.monotonic()
                wait_until(lambda: hear_each_other(here, there), "messages arrive", 20)
                print(f"after {strike.__name__} deaf for {time.monotonic() - begin:.1f} s")
                assert "master" in next_master.ask(LOGIN, "ROLE")
                wait_until(lambda: sites[0].probe("readyz") == (200, "ready\n"), "ready again", 5)
                if strike == one.stop:
                    one.start()
                    wait_until(lambda: all(map(is_ready, sentinels)), "the old master follows the new one")
            last = next(refs)
            assert hears(here, there, last)
        stored = sorted(int(message["ref"]) for message in ann.history("fail-over")["messages"])
        assert stored == list(range(stored[0], int(last) + 1))
        assert all(word not in site.log.read_text() for site in sites for word in (PASSWORD, OTHER_PASSWORD))


def is_ready(sentinel):
    """Return whether a sentinel knows the two others and a working replica."""
    master, replica = (
        sentinel.ask(f"AUTH {OTHER_PASSWORD}", f"SENTINEL {what} main").split() for what in ("MASTER", "REPLICAS")
    )
    return value(master, "num-other-sentinels") == "2" and value(replica, "master-link-status") == "ok"


def value(words, name):
    """Return the word after a name and its length, in an answer of Redis."""
    return words[words.index(name) + 2] if name in words else None
