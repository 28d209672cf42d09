"""Sites that share a Redis: REDIS_PREFIX separates them, and separates a project's tests from its site."""

import contextlib
import itertools
import json
import time

import pytest
import yaml
from support.client import MOST, Person, close_code, names, receive, say, send
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS, SIGNED_IN, label, spread
from support.servers import start_site
from websockets.exceptions import ConnectionClosed

TWIN = "twin"  # signs up at both sites
QUIET = 2  # seconds for events that should not arrive
PUBLISHED = ("text", "presence", "seq", "sign-out")

SERVER = ["uv", "run", "python", "manage.py", "serve"]
MANAGE = ["uv", "run", "python", "manage.py"]
DELETE = f"from django.contrib.auth import get_user_model as m; m().objects.get(username={TWIN!r}).delete()"


class Twin(Person):
    """User with the same name at both sites."""

    def sign_up(self):
        self.name = TWIN
        super().sign_up()


def look(connection):
    """Return the events that arrive within a while, and the close code if the connection is closed."""
    events, deadline = [], time.monotonic() + QUIET
    try:
        while (left := deadline - time.monotonic()) > 0:
            events.append(json.loads(connection.recv(left)))
    except TimeoutError:
        pass
    except ConnectionClosed as closed:
        return events, closed.rcvd.code
    return events, None


def crossings(one, other, auth, delete_twin):
    """Return the kinds of events of one site that reach the other."""
    found = set()
    twin, double, guest = Twin(one, auth), Twin(other, auth), Person(one, auth)
    with double.connect("room") as there:
        assert receive(there)["type"] == "welcome"
        with guest.connect("room") as here:
            assert receive(here)["type"] == "welcome"
            assert say(here, "a1", "from here")["seq"] == 1
            events, _ = look(there)
            if any(event["type"] == "message" for event in events):
                found.add("text")
            if any(guest.name in names(event.get("users", ())) for event in events):
                found.add("presence")
            send(there, type="send", ref="b1", text="from there")
            events, _ = look(there)
            if not any(event.get("ref") == "b1" for event in events):
                found.add("seq")

    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            assert receive(stack.enter_context(twin.connect("many")))["type"] == "welcome"
        with double.connect("many") as there:
            if look(there)[1] == 4409:
                found.add("count")

    with double.connect("exit") as there, twin.connect("exit") as here:
        assert [receive(socket)["type"] for socket in (there, here)] == ["welcome"] * 2
        delete_twin()
        assert close_code(here) == 4403
        if look(there)[1] == 4403:
            found.add("sign-out")
    return found


CASES = {
    "apart": ("one other", (0, 1), set()),
    "apart-in-one-database": ("one other", (0, 0), set()),
    # Redis delivers a published message to all of its databases.
    "together": ("one one", (0, 1), {*PUBLISHED}),
    "together-in-one-database": ("one one", (0, 0), {*PUBLISHED, "count"}),
}
SITES = spread([{}] * len(CASES), "server", "consumers", auth=SIGNED_IN)


@pytest.mark.parametrize(
    ("answers", "prefixes", "numbers", "expected"),
    [
        pytest.param(answers, *CASES[case], id=f"{case}-{label(answers)}")
        for case, answers in zip(itertools.cycle(CASES), SITES, strict=False)
    ],
)
def test_prefix_keeps_sites_apart(answers, prefixes, numbers, expected, cookies, environment, redis, tmp_path):
    """Two sites with the same prefix reach each other, whatever the numbers of their databases. Others do not."""
    project = bake(cookies, **answers, channel_layer="redis")
    python = environment(PYTHONS[-1], CHOICES["django_version"][0])
    redis.ask("FLUSHALL")
    with contextlib.ExitStack() as stack:
        sites = []
        for folder, prefix, number in zip(("one", "other"), prefixes.split(), numbers, strict=True):
            environ = environ_for(
                python,
                DATABASE_URL=f"sqlite:///{tmp_path / folder}.sqlite3",
                REDIS_URL=f"{redis.url}/{number}",
                REDIS_PREFIX=prefix,
            )
            run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
            sites.append((stack.enter_context(start_site(SERVER, project, environ)), environ))
        (one, environ), (other, _) = sites

        def delete_twin():
            run([*MANAGE, "shell", "-c", DELETE], project, environ)

        assert crossings(one, other, answers["auth"], delete_twin) == expected


def test_emitted_tests_keep_away_from_the_site(cookies, environment, redis):
    """The emitted tests use prefixes of tests in Redis, in their process and in their servers."""
    project = bake(cookies, project_slug="our-site", channel_layer="redis")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), REDIS_URL=f"{redis.url}/0")
    del environ["REDIS_PREFIX"]
    with redis.monitor() as commands:
        files = ["chat/tests/test_chat.py", "chat/tests/test_live.py"]
        run(["uv", "run", "pytest", "-q", *files], project, environ)
    places = {
        word for command in commands for word in command[1:2] if command[0] in {"SUBSCRIBE", "PUBLISH", "ZADD", "ZCARD"}
    }
    assert any("__group__" in place for place in places), commands
    assert any(":connections:" in place for place in places), commands
    assert {place.partition("-")[0] for place in places} == {"test"}


@pytest.mark.quick
def test_compose_and_cluster_have_prefixes(cookies):
    """Containers with their own SQLite database are another site than `make dev`, which may use their Redis."""
    answers = {"project_slug": "our-site", "channel_layer": "redis"}
    for database, expected in (("sqlite", "our-site-compose"), ("postgresql", None)):
        project = bake(cookies, **answers, database=database)
        compose = yaml.safe_load((project / "compose.yaml").read_text())
        assert compose["x-site"]["environment"].get("REDIS_PREFIX") == expected
    project = bake(cookies, **answers, database="postgresql", deploy="kubernetes")
    config = yaml.safe_load((project / "deploy" / "kubernetes" / "configmap.yaml").read_text())
    assert config["data"]["REDIS_PREFIX"] == "our-site"


def test_prefix_is_the_slug_unless_it_is_set(cookies, environment, redis):
    """No module contains the slug."""
    project = bake(cookies, project_slug="our-site", channel_layer="redis")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), REDIS_URL=f"{redis.url}/0")
    code = (
        "from django.conf import settings; print(settings.REDIS_PREFIX, settings.CHANNEL_LAYERS['default']['CONFIG'])"
    )
    command = [*MANAGE, "shell", "--no-imports", "-c", code]
    for prefix, variables in (("our-site", {}), ("theirs", {"REDIS_PREFIX": "theirs"})):
        environ.pop("REDIS_PREFIX", None)
        output = run(command, project, {**environ, **variables})
        assert output.startswith(f"{prefix} ")
        assert f"'prefix': '{prefix}:'" in output
    assert not any("our-site" in path.read_text() for path in project.rglob("*.py"))
