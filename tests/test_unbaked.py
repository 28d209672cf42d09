"""Engine in a project of `startproject`: the official tutorials' code, and the steps of realtime/README.md."""

import contextlib
import http.cookies
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import httpx
import pytest
from support.client import MOST, TIMEOUT, close_code, open_socket, receive, send
from support.emitted import bake, environ_for, run
from support.imports import imported_names
from support.matrix import CHOICES, PYTHONS, TEMPLATE
from support.servers import start_site

pytestmark = pytest.mark.xdist_group("unbaked")  # share a project

TUTORIALS = Path(__file__).parent / "support" / "unbaked"
PASSWORD = "correct horse battery staple"
MAX_LINES = 15  # outside of realtime/
ENGINE = TEMPLATE / "{{cookiecutter.project_slug}}" / "realtime"
DISTRIBUTIONS = {
    "dj_database_url": "dj-database-url",
    "dotenv": "python-dotenv",
    "prometheus_client": "prometheus-client",
    "pythonjsonlogger": "python-json-logger",
}
# Modules that a project may leave out, with their packages, and packages that the start names if it needs them.
OPTIONAL = {"storage.py": "servestatic", "load.py": "websockets", "django_tasks.py": "django-tasks"}
MQTT = "paho-mqtt"  # of the folder `mqtt`
NAMED_BY_THE_START = {"psycopg", "psycopg_pool"}
PUBLIC = {
    "realtime.consumers": {"RealtimeConsumer", "SyncRealtimeConsumer"},
    "realtime.broadcast": {
        "publish",
        "apublish",
        "publish_many",
        "group_name",
        "disconnect_user",
        "disconnect_credential",
        "remove_from_group",
    },
    "realtime.identity": {"display_name", "user_id"},
    "realtime.mqtt.bridge": {"Bridge"},
    "realtime.mqtt.client": {"new_client", "connect"},
    "realtime.open_files": {"allow_many_files"},
    "realtime.figures.registry": {"source", "read", "labels"},
    "realtime.figures.sockets": {"socket_figures"},
    "realtime.figures.ticker": {"tick"},
    "realtime.auth": {"Identity", "public"},
    "realtime.auth.sessions": {"find_valid_sessions"},
    "realtime.auth.models": {"Throttle", "of_address", "of_password"},
    "realtime.auth.forms": {"NewPasswordMixin", "PasswordChangeForm", "PasswordResetForm", "SetPasswordForm"},
    "realtime.auth.urls": {"urlpatterns", "reset_urlpatterns"},
    "realtime.auth.views": {"LogoutView"},
    "realtime.feeds.events": {"append", "aappend", "append_many", "FeedHistory", "trim"},
    "realtime.feeds.models": {"Feed", "take_numbers", "latest_seqs"},
    "realtime.work.context": {"job", "JobContext", "JobError", "Stopped"},
    "realtime.work.queue": {"start", "astart", "cancel", "retry"},
    "realtime.work.models": {"Job", "State", "OPEN"},
    "realtime.work.backend": {"JobBackend"},
    "realtime.work.streams": {"collect"},
    "realtime.work.testing": {"run_all"},
    "realtime.auth.names": {"look_of", "validate_name", "is_visible"},
    "realtime.batches": {"in_batches"},
    "realtime.keyset": {"paginate", "iterate"},
    "realtime.lookups": {"one_of"},
    "realtime.history": {"History"},
    "realtime.protocol": {"EventError"},
    "realtime.routing": {"socket_path"},
    "realtime.asgi": {"RealtimeMiddlewareStack", "lifespan"},
    "realtime.proxy": {"TrustedProxies"},
    "realtime.bodies": {"BodyLimit"},
    "realtime.testing": {"SocketClient", "open_sockets", "running_server", "missing_services"},
    "realtime.load": {"Load", "Browser", "SiteError", "main"},
}
# Settings that part 2 of the Channels tutorial adds.
CHANNEL_LAYERS = """
# Channels
ASGI_APPLICATION = "mysite.asgi.application"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            "hosts": [("127.0.0.1", 6379)],
        },
    },
}
"""
PASSWORDS = """
INSTALLED_APPS.append("realtime.auth")
MIDDLEWARE.append("realtime.auth.throttle.TooManyRequestsMiddleware")
AUTHENTICATION_BACKENDS = ["realtime.auth.backends.PasswordBackend"]
PASSWORD_HASHERS = ["realtime.auth.hashers.PBKDF2PasswordHasher"]
REALTIME_MAX_NAME_FAILURES = 2
"""
ROUTES = """
from polls.consumers import BoardConsumer
websocket_urlpatterns += [re_path(r"ws/board/$", BoardConsumer.as_asgi())]
"""


def blocks(readme, language):
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


def finish_tutorials(folder, manage, environ):
    """Make the project that a reader of both tutorials has in the end."""
    run(["uv", "run", "django-admin", "startproject", "mysite", "."], folder, environ)
    for app in ("polls", "chat"):
        run([*manage, "startapp", app], folder, environ)
    shutil.copytree(TUTORIALS, folder, dirs_exist_ok=True)
    settings = folder / "mysite" / "settings.py"
    apps = 'INSTALLED_APPS = [\n    "daphne",\n    "chat",\n    "polls.apps.PollsConfig",\n'
    content = settings.read_text().replace("INSTALLED_APPS = [\n", apps)
    settings.write_text(content + CHANNEL_LAYERS)
    run([*manage, "makemigrations", "polls"], folder, environ)


@pytest.fixture(scope="module")
def project(cookies_session, environment, tmp_path_factory):
    """The tutorials' project with the engine, a superuser, and the environment of its commands."""
    folder = tmp_path_factory.mktemp("unbaked") / "djangotutorial"
    folder.mkdir()
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    environ |= {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    manage = ["uv", "run", "python", "manage.py"]
    finish_tutorials(folder, manage, environ)
    shutil.copytree(bake(cookies_session) / "realtime", folder / "realtime")
    readme = (folder / "realtime" / "README.md").read_text(encoding="utf-8")
    run(["git", "apply", "realtime/README.md"], folder, environ)
    consumer, *_ = blocks(readme, "python")
    assert len([line for line in consumer.splitlines() if line]) <= 10
    (folder / "polls" / "consumers.py").write_text(consumer)
    with (folder / "chat" / "routing.py").open("a") as file:
        file.write(ROUTES)
    run([*manage, "migrate"], folder, environ)
    create = ["createsuperuser", "--no-input", "--username", "ann", "--email", "ann@example.com"]
    run([*manage, *create], folder, environ)
    return folder, environ


class Browser:
    """A person at the project's pages, whose sockets send the same cookies."""

    def __init__(self, site, stack):
        self.site = site
        self.stack = stack
        headers = {"Origin": site.url}
        self.http = httpx.Client(base_url=site.url, trust_env=False, timeout=TIMEOUT, headers=headers)

    def post(self, path, **fields):
        """Submit a form of Django's admin."""
        self.http.get("/admin/login/")
        token = self.http.cookies["csrftoken"]
        answer = self.http.post(path, data={**fields, "csrfmiddlewaretoken": token})
        assert answer.status_code in {200, 302}, self.site.log.read_text()[-3000:]

    def connect(self, path):
        cookie = http.cookies.SimpleCookie(dict(self.http.cookies)).output(header="", sep=";").strip()
        headers = {"Cookie": cookie} if cookie else {}
        return self.stack.enter_context(open_socket(self.site, path, additional_headers=headers))


def presence(socket, count):
    """Return the users of the first event with so many of them."""
    while True:
        event = json.loads(socket.recv(TIMEOUT))
        if event["type"] == "presence" and event["count"] == count:
            return event["users"]


@pytest.mark.parametrize("layer", CHOICES["channel_layer"])
@pytest.mark.parametrize("server", CHOICES["server"])
def test_tutorials_and_engine_work_together(project, server, layer, request):
    """The tutorial's consumer works as before. One of at most ten lines has all that the engine gives."""
    folder, environ = project
    environ = {**environ, "SERVER": server}
    if layer == "redis":
        environ["REDIS_URL"] = f"{request.getfixturevalue('redis').url}/0"
    serve = ["uv", "run", "python", "manage.py", "serve"]
    with start_site(serve, folder, environ) as site, contextlib.ExitStack() as stack:
        ann, guest = Browser(site, stack), Browser(site, stack)
        assert "No polls are available." in guest.http.get("/polls/").text
        assert guest.http.get("/chat/lobby/").status_code == 200
        ann.post("/admin/login/?next=/admin/", username="ann", password=PASSWORD)

        # The consumer of the tutorial
        chats = [browser.connect("/ws/chat/lobby/") for browser in (ann, guest)]
        send(chats[0], message="hello")
        assert [json.loads(chat.recv(TIMEOUT)) for chat in chats] == [{"message": "hello"}] * 2

        # Presence and broadcast
        board, other = ann.connect("/ws/board/"), guest.connect("/ws/board/")
        assert "ann" in {user["user"] for user in presence(board, 2)}
        presence(other, 2)
        send(other, type="note", text="hi")
        note = receive(board)
        assert (note["type"], note["text"]) == ("note", "hi")
        assert receive(other) == note

        # Limits: connections, then frames
        more = [ann.connect("/ws/board/") for _ in range(MOST - 2)]
        presence(more[-1], 2)
        assert close_code(ann.connect("/ws/chat/lobby/")) == 4409
        for _ in range(60):
            send(more[0], type="ping")
        while (event := receive(more[0]))["type"] == "pong":
            pass
        assert (event["type"], event["code"]) == ("error", "rate_limited")

        # Sign-out
        ann.post("/admin/logout/")
        assert {close_code(socket) for socket in (chats[0], board, *more)} == {4403}
        assert len(presence(other, 1)) == 1

        # Drain
        site.process.terminate()
        assert [close_code(socket) for socket in (chats[1], other)] == [4012, 4012]


def test_development_server_has_sockets(project):
    """`runserver` is the engine's, which serves sockets as well, although daphne's app is installed."""
    folder, environ = project
    runserver = ["uv", "run", "python", "manage.py", "runserver"]
    with start_site(runserver, folder, environ) as site, contextlib.ExitStack() as stack:
        visitor = Browser(site, stack)
        assert "No polls are available." in visitor.http.get("/polls/").text
        presence(visitor.connect("/ws/board/"), 1)


def test_steps_add_few_lines():
    """The diffs of the README add at most 15 lines to the project."""
    readme = (ENGINE / "README.md").read_text(encoding="utf-8")
    added = re.findall(r"^\+(?!\+\+).*$", "".join(blocks(readme, "diff")), re.MULTILINE)
    assert 0 < len(added) <= MAX_LINES, added


@pytest.mark.quick
def test_packages_are_those_that_the_engine_imports():
    """`uv add` of the README names what the engine imports, but for optional modules, which it names too."""
    readme = (ENGINE / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^uv add (.*)$", readme, re.MULTILINE)
    named = {requirement.partition("[")[0].partition(">")[0] for requirement in shlex.split(command)}
    needed = set()
    for path in ENGINE.rglob("*.py"):
        folder, *_ = path.relative_to(ENGINE).parts
        if folder not in {"servers", "redis", "mqtt"} and path.name not in OPTIONAL:
            needed |= {name.partition(".")[0] for name in imported_names(path)}
    needed -= {"realtime", *sys.stdlib_module_names, *NAMED_BY_THE_START}
    assert named == {DISTRIBUTIONS.get(name, name) for name in needed} - {"django", "asgiref"} | {CHOICES["server"][0]}
    assert [package for package in [*OPTIONAL.values(), MQTT] if f"`{package}`" not in readme] == []


@pytest.mark.quick
def test_public_names_are_listed():
    """The README lists exactly the names that the engine promises."""
    readme = (ENGINE / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(realtime[\w.]*)` \| (.*) \|$", readme, re.MULTILINE)
    assert {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows} == PUBLIC


@pytest.fixture
def project_with_passwords(project, tmp_path):
    """A copy of the project whose sign-ins the engine throttles."""
    original, environ = project
    folder = tmp_path / "site"
    shutil.copytree(original, folder)
    with (folder / "mysite" / "settings.py").open("a") as settings:
        settings.write(PASSWORDS)
    return folder, environ


def test_table_of_failures_is_opt_in(project, project_with_passwords):
    """Only a project with the app gets the table. Its admin is throttled without any template."""
    tables = [
        run(["uv", "run", "python", "manage.py", "showmigrations", "--list"], folder, environ).count("realtime_auth")
        for folder, environ in (project, project_with_passwords)
    ]
    assert tables == [0, 1]
    folder, environ = project_with_passwords
    run(["uv", "run", "python", "manage.py", "migrate"], folder, environ)
    with start_site(["uv", "run", "python", "manage.py", "serve"], folder, environ) as site:
        headers = {"Accept": "text/html"}
        with httpx.Client(base_url=site.url, trust_env=False, timeout=TIMEOUT, headers=headers) as client:
            client.get("/admin/login/")
            fields = {"username": "ann", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
            answers = [
                client.post("/admin/login/", data={**fields, "password": password})
                for password in ("wrong", "wrong", PASSWORD)
            ]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert re.fullmatch(r"Too many attempts\. Try again in (2[0-9]|30) seconds\.", answers[-1].text)


def test_public_names_can_be_imported(project_with_passwords):
    """Each promised name is there in the tutorials' project, and the version is a string."""
    folder, environ = project_with_passwords
    imports = "; ".join(f"from {module} import {', '.join(sorted(names))}" for module, names in PUBLIC.items())
    code = f"import realtime; print(realtime.__version__); {imports}"
    output = run(["uv", "run", "python", "manage.py", "shell", "--no-imports", "-c", code], folder, environ)
    assert re.fullmatch(r"\d+\.\d+\.\d+", output.splitlines()[-1])
    assert (folder / "realtime" / "static" / "realtime" / "client.js").is_file()
    assert (folder / "realtime" / "py.typed").is_file()
