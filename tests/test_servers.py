"""The choice of the server at run time, and what every server sends."""

import json
import re
import subprocess

import pytest
from support.client import Person, open_socket, receive
from support.emitted import bake, clean_environ, environ_for, run
from support.matrix import CHOICES, CONTEXT, PYTHONS, TEMPLATE
from support.servers import free_port, start_site

from demo import find_python

pytestmark = pytest.mark.xdist_group("servers")  # share an environment

SERVE = ["python", "manage.py", "serve"]
CHANGED_DICTS = """
from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import path
from realtime.consumers import RealtimeConsumer, SyncRealtimeConsumer


class Ordinary(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        message = {"type": "websocket.send", "text": "0"}
        for number in range(3):
            message["text"] = str(number)
            await self.base_send(message)


class Engine(RealtimeConsumer):
    async def joined(self):
        event = {"type": "number"}
        for number in range(3):
            event["number"] = number
            await self.send_event(event)


class Sync(SyncRealtimeConsumer):
    def joined(self):
        message = {"type": "websocket.send"}
        for number in range(50):
            message["text"] = str(number)
            self.base_send(message)


websocket_urlpatterns.insert(0, path("ws/sync/", Sync.as_asgi()))
websocket_urlpatterns.insert(0, path("ws/ordinary/", Ordinary.as_asgi()))
websocket_urlpatterns.insert(0, path("ws/engine/", Engine.as_asgi()))
"""


@pytest.mark.parametrize("server", CHOICES["server"])
def test_a_dict_is_sent_as_it_is_at_that_moment(server, cookies, environment):
    """A consumer may change a message and send the same dict again."""
    project = bake(cookies, server=server, auth="none")
    with (project / "config" / "routing.py").open("a") as file:
        file.write(CHANGED_DICTS)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    with start_site(["uv", "run", *SERVE], project, environ) as site:
        headers = Person(site, "none").headers()
        with open_socket(site, "/ws/ordinary/", additional_headers=headers) as socket:
            assert [socket.recv(10) for _ in range(3)] == ["0", "1", "2"]
        with open_socket(site, "/ws/sync/", additional_headers=headers) as socket:
            assert [socket.recv(10) for _ in range(50)] == [str(number) for number in range(50)]
        with open_socket(site, "/ws/engine/", additional_headers=headers) as socket:
            assert [json.loads(socket.recv(10))["number"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.quick
def test_engine_names_the_requirements_of_each_server():
    """The engine's table of servers is that of cookiecutter.json."""
    engine: dict = {}
    text = (TEMPLATE / "{{cookiecutter.project_slug}}" / "realtime" / "servers" / "__init__.py").read_text()
    exec(re.search(r"^SERVERS = \{.*?^\}", text, re.M | re.S)[0], engine)
    choices = CONTEXT["_choices"]["server"]
    assert engine["SERVERS"] == {server: tuple(choices[server]["requirements"]) for server in CHOICES["server"]}


@pytest.fixture(scope="module")
def own(cookies_session):
    """The default project with an environment of its own, without packages for tests."""
    project = bake(cookies_session, auth="none")
    environ = clean_environ(UV_PYTHON=find_python(PYTHONS[-1]), UV_NO_DEV="1")
    run(["uv", "sync", "--quiet"], project, environ)
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)
    return project, environ


def refusal(command, project, environ):
    """Return the output of a command that must fail."""
    done = subprocess.run(
        command, cwd=project, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    assert done.returncode == 1, done.stdout
    return done.stdout.splitlines()


@pytest.mark.parametrize("server", CHOICES["server"][1:])
@pytest.mark.parametrize("command", ["serve", "runserver"])
def test_a_missing_package_is_one_line_with_the_fix(command, server, own):
    """The line names the command that installs it, after which the server starts."""
    project, environ = own
    environ = {**environ, "SERVER": server, "PORT": str(free_port())}
    missing = rf"SERVER: the packages for {server} are missing\. Install them: (uv add .*)"
    lines = refusal(["uv", "run", "python", "manage.py", command], project, environ)
    (fix,) = [found[1] for line in lines if (found := re.fullmatch(missing, line))]
    assert command == "runserver" or len(lines) == 1
    if command == "runserver":
        run(["sh", "-c", fix], project, environ)
        with (
            start_site(["uv", "run", *SERVE], project, environ) as site,
            Person(site, "none").connect("lobby") as socket,
        ):
            assert receive(socket)["type"] == "welcome"


@pytest.mark.parametrize("server", CHOICES["server"])
def test_workers_need_a_layer_between_processes(server, cookies, environment, redis):
    """The layer that is in use decides, whatever was answered."""
    project = bake(cookies, server=server, auth="none", channel_layer="redis")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), REDIS_URL=f"{redis.url}/0")
    with (project / "config" / "settings.py").open("a") as file:
        file.write('CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}\n')
    environ |= {"WEB_CONCURRENCY": "2", "PORT": str(free_port())}
    assert refusal(["uv", "run", *SERVE], project, environ) == [
        "WEB_CONCURRENCY=2: the in-memory channel layer serves one process. Set WEB_CONCURRENCY=1, or set REDIS_URL."
    ]
