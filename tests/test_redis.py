"""Real Redis behind each server: silence does no harm, and a restarted Redis is used again."""

import time

import pytest
from support.client import Person, hears, receive, say
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, combinations, label, spread
from support.servers import Redis, start_site, wait_until

SITES = [
    pytest.param(
        {**answers, "channel_layer": "redis"},
        id=label(answers),
        marks=pytest.mark.xdist_group(f"redis-{answers['server']}"),
    )
    for answers in spread(combinations("server"), "consumers")
]


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory):
    """A Redis that the tests of this module may stop."""
    redis = Redis(tmp_path_factory.mktemp("own-redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="module", params=SITES)
def site(request, cookies_session, environment, own_redis):
    project = bake(cookies_session, **request.param)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), REDIS_URL=f"{own_redis.url}/0")
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    with start_site(["make", "serve"], project, environ) as site:
        site.auth = CHOICES["auth"][0]
        yield site


def test_idle_connection_lives(site):
    """After 20 silent seconds, longer than any timeout of redis-py, both ends still work."""
    ann, ben = Person(site, site.auth), Person(site, site.auth)
    with ann.connect("idle") as one, ben.connect("idle") as other:
        assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
        time.sleep(20)
        message = say(one, "late", "still here?")
        assert (message["seq"], receive(other)) == (1, message)


def test_probes_report_an_outage(site, own_redis):
    """The process stays live, and is not ready until Redis is back."""
    assert site.probe("readyz") == (200, "ready\n")
    own_redis.stop()
    wait_until(lambda: site.probe("readyz") == (503, "away: channel layer\n"), "not ready without Redis", 5)
    assert site.probe("healthz") == (200, "ok\n")
    own_redis.start()
    wait_until(lambda: site.probe("readyz") == (200, "ready\n"), "ready with Redis", 5)


def test_restarted_redis_is_met_again(site, own_redis):
    """Old and new connections receive each other's messages without a restart of the server."""
    ann, ben, cem = (Person(site, site.auth) for _ in range(3))
    with ann.connect("restart") as one, ben.connect("restart") as other:
        assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
        assert hears(one, other, "before")
        own_redis.stop()
        time.sleep(1)
        own_redis.start()
        tries = iter(range(1000))
        wait_until(lambda: hears(one, other, f"old{next(tries)}"), "the other old connection receives", 15)
        wait_until(lambda: hears(other, one, f"back{next(tries)}"), "the first old connection receives", 15)
        with cem.connect("restart") as new:
            wait_until(lambda: hears(one, new, f"new{next(tries)}"), "the new connection receives", 15)
            wait_until(lambda: hears(new, one, f"from{next(tries)}"), "the new connection is received", 15)
    stored = ann.history("restart")["messages"]
    assert [message["seq"] for message in stored] == list(range(1, len(stored) + 1))
