"""Image, stack of Docker Compose and page on production, with a real engine.

The engine pulls nothing. See `containers.py` for the images that replace those of a registry.
"""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time

import httpx
import pytest
from support.client import NO_TLS, TIMEOUT, Person, Tunnel, csrf_token, numbers, receive, say, send, wait_for_users
from support.containers import BASE, Engine, adapt
from support.emitted import bake, clean_environ, run
from support.matrix import TEMPLATE, complete
from support.servers import free_port, wait_until
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect as connect_websocket

from demo import find_python

pytestmark = [pytest.mark.xdist_group("containers"), pytest.mark.timeout(900)]  # the first test makes images

GRACE = 20  # seconds that compose.yaml gives the servers to exit
# One project per server. The first has all services and sample apps, the last none and the chat.
SITES = complete(
    "server",
    {
        "uvicorn": {"channel_layer": "redis", "database": "postgresql", "examples": "all"},
        "daphne": {"channel_layer": "redis", "database": "sqlite"},
        "hypercorn": {"channel_layer": "in-memory", "database": "sqlite"},
    },
)
PRODUCTION = {
    "DEBUG": "false",
    "SECRET_KEY": "s" * 64,
    "ALLOWED_HOSTS": ".example.com",
    "ALLOWED_ORIGINS": "https://chat.example.com",
    "SIGNUP_OPEN": "true",
}


def bake_site(cookies, server: str):
    return bake(cookies, project_slug=f"{server}-site", server=server, auth="session", deploy="docker", **SITES[server])


@pytest.fixture(scope="module")
def engine():
    engine = Engine()
    engine.start()
    yield engine
    engine.stop()


class Stack:
    """Containers of a project, and the address of its nginx."""

    def __init__(self, engine, project, **variables) -> None:
        self.engine = engine
        self.project = project
        self.name = project.parent.name.replace("_", "") + project.name
        self.ports = {"http": free_port(), "https": free_port()}
        self.variables = {
            "COMPOSE_PROJECT_NAME": self.name,
            "HTTP_PORT": str(self.ports["http"]),
            "HTTPS_PORT": str(self.ports["https"]),
            **variables,
        }
        example = (project / ".env.example").read_text()
        example = example.replace("METRICS_TOKEN=\n", f"METRICS_TOKEN={'t' * 20}\n")
        (project / ".env").write_text(re.sub("^SECRET_KEY=.*", f"SECRET_KEY={'s' * 64}", example, flags=re.MULTILINE))
        adapt(project)

    def compose(self, *arguments: str, **options) -> str:
        return self.engine.docker("compose", *arguments, folder=self.project, **self.variables, **options)

    def sh(self, commands: str) -> str:
        """Run commands that a user types in the project's folder. Return their output."""
        return run(["sh", "-e", "-c", commands], self.project, self.engine.environ | self.variables)

    def containers(self, service: str = "") -> list[str]:
        label = f"com.docker.compose.service={service}" if service else "com.docker.compose.service"
        project = f"label=com.docker.compose.project={self.name}"
        return self.engine.docker("ps", "--all", "--quiet", "--filter", project, "--filter", f"label={label}").split()

    def states(self) -> dict[str, list[str]]:
        """Return the state of each service's containers: their health, or their exit code."""
        states = {}
        for container in self.containers():
            found = self.engine.inspect(container)
            state, service = found["State"], found["Config"]["Labels"]["com.docker.compose.service"]
            ended = f"exit {state['ExitCode']}"
            states.setdefault(service, []).append(state.get("Health", state)["Status"] if state["Running"] else ended)
        return states

    def connections(self, container: str) -> float:
        """Return the number of sockets of one server."""
        ask = "import urllib.request as r; print(r.urlopen('http://localhost:8000/metrics').read().decode())"
        page = self.engine.docker("exec", container, "python", "-c", ask)
        return float(re.search(r"^realtime_connections (\S+)$", page, re.MULTILINE)[1])

    def __enter__(self) -> "Stack":
        start = time.monotonic()
        try:
            self.compose("up", "--detach")
            wait_until(lambda: self.states()["nginx"] == ["healthy"], f"a healthy nginx of {self.name}")
        except BaseException:
            print(self.compose("logs", "--no-color"))
            self.__exit__()
            raise
        print(f"\n{self.name}: healthy after {time.monotonic() - start:.1f} s")
        return self

    def __exit__(self, *_: object) -> None:
        self.compose("down", "--volumes", "--timeout", "1")


class Visitor(Person):
    """A user behind nginx, with the addresses that a browser has for the usual ports."""

    def __init__(self, stack, scheme: str, host: str = "localhost") -> None:
        self.port, self.host, self.scheme = stack.ports[scheme], host, scheme
        self.auth, self.name = "session", f"visitor{next(numbers)}"
        self.tls = None
        if scheme == "https":
            certificate = stack.compose("exec", "-T", "nginx", "cat", "/etc/nginx/tls/fullchain.pem")
            self.tls = ssl.create_default_context(cadata=certificate)
            self.tls.check_hostname = host == "localhost"
        self.http = httpx.Client(
            base_url=f"{scheme}://localhost:{self.port}",
            timeout=TIMEOUT,
            trust_env=False,
            verify=self.tls or NO_TLS,
            headers={"Host": host, "Origin": f"{scheme}://{host}"},
        )
        self.sign_up()

    def connect(self, room: str, query: str = ""):
        scheme, connect = {"http": ("ws", connect_websocket), "https": ("wss", Tunnel)}[self.scheme]
        return connect(
            f"{scheme}://{self.host}/ws/chat/{room}/{query}",
            sock=socket.create_connection(("127.0.0.1", self.port), TIMEOUT),
            origin=f"{self.scheme}://{self.host}",
            ssl=self.tls,
            additional_headers=self.headers(),
            open_timeout=TIMEOUT,
            close_timeout=TIMEOUT,
        )


@pytest.fixture(scope="module")
def project(cookies_session):
    """Bake the project whose stack is started below."""
    return bake_site(cookies_session, "uvicorn")


@pytest.fixture(scope="module")
def image(engine, project):
    """Build its image and return its name. Prints the size and the seconds."""
    start = time.monotonic()
    engine.build(project, "uvicorn-site")
    duration = time.monotonic() - start
    size, base = (engine.inspect(tag)["Size"] / 1e6 for tag in ("uvicorn-site", BASE))
    print(f"\nimage: {size:.0f} MB, of which {base:.0f} MB are the base; built in {duration:.1f} s")
    return "uvicorn-site"


@pytest.fixture(scope="module")
def stack(engine, project, image):
    """Start the stack as development does, with the values of .env.example and a key of its own."""
    with Stack(engine, project) as stack:
        yield stack


def test_image_has_only_what_it_needs(engine, image):
    """The image has no compiler, uv, secret or tests. Its files belong to root, and it runs as another user."""
    show = (
        "id -u; for name in cc gcc g++ make uv git; do command -v $name; done; "
        "find / -xdev \\( -name .env -o -name .git -o -name '*.sqlite3' -o -path /app/tests \\) -print 2>/dev/null; "
        "find /app ! -user root; python -c 'import ssl, sqlite3; import psycopg'"
    )
    arguments = ("run", "--rm", "--network", "none", image)
    assert engine.docker(*arguments, "sh", "-c", show).splitlines() == ["10001"]
    config = engine.inspect(image)["Config"]
    assert not {"SECRET_KEY", "DEBUG", "DATABASE_URL"} & {line.partition("=")[0] for line in config["Env"]}
    assert config["Cmd"] == ["python", "manage.py", "serve"]
    assert "/app/staticfiles/staticfiles.json" in engine.docker(*arguments, "find", "/app/staticfiles")


def test_change_of_code_keeps_the_packages(engine, project, image):
    """A change of the code rebuilds only the layers behind the packages."""
    views = project / "chat" / "views.py"
    views.write_text(views.read_text() + "\n# One more line.\n")
    start = time.monotonic()
    output = engine.build(project, image)
    print(f"\nimage: built in {time.monotonic() - start:.1f} s after a change of code")
    steps = {step: f"#{number} CACHED" in output for number, step in re.findall(r"^#(\d+) \[.*?\] (\w+)", output, re.M)}
    (install,) = re.findall(r"^#(\d+) .*uv sync", output, re.MULTILINE)
    assert f"#{install} CACHED" in output
    assert not steps["COPY"]


def test_image_has_what_was_locked(engine, cookies_session):
    """The image installs the versions of uv.lock. Its build refuses one that does not match pyproject.toml."""
    project = bake_site(cookies_session, "uvicorn")
    python = find_python((project / ".python-version").read_text().strip())
    run(["uv", "lock", "--upgrade-package", "idna==3.10"], project, clean_environ(UV_PYTHON=python))
    engine.build(project, "uvicorn-site:locked")
    ask = "from importlib.metadata import version; print(version('idna'))"
    assert engine.docker("run", "--rm", "--network", "none", "uvicorn-site:locked", "python", "-c", ask) == "3.10\n"

    content = project / "pyproject.toml"
    content.write_text(content.read_text().replace('"channels>', '"pytz>=2026.1",\n    "channels>'))
    with pytest.raises(AssertionError, match=r"lockfile .* needs to be updated"):
        engine.build(project, "uvicorn-site:locked")


def test_stack_is_healthy(stack):
    """Two servers and their services are healthy, and the one-time containers have exited with 0."""
    assert stack.states() == {
        "nginx": ["healthy"],
        "web": ["healthy", "healthy"],
        "redis": ["healthy"],
        "postgresql": ["healthy"],
        "mosquitto": ["healthy"],
        "worker": ["running"],
        "bridge": ["running"],
        "notifications": ["running"],
        "cleanup": ["running"],
        "migrate": ["exit 0"],
        "certificate": ["exit 0"],
    }
    cleaned = "Deleted 0 messages."
    wait_until(lambda: cleaned in stack.compose("logs", "--no-color", "cleanup"), "the first cleanup")
    for container in stack.containers("web"):
        config = stack.engine.inspect(container)["HostConfig"]
        assert (config["ReadonlyRootfs"], config["CapDrop"]) == (True, ["ALL"])
        assert config["PortBindings"] in (None, {})


def test_first_start_creates_a_user(stack):
    """The commands of the page build the image, check the settings and create a user, here without a prompt."""
    start, check, create = section(stack.project, "First start").splitlines()
    stack.sh(f"{start}\n{check.replace(' exec ', ' exec -T ')} --fail-level CRITICAL")
    wait_until(lambda: stack.states()["web"] == ["healthy"] * 2, "two healthy servers")
    create = create.replace(" exec ", " exec -T -e DJANGO_SUPERUSER_PASSWORD=secret ")
    assert "Superuser created" in stack.sh(f"{create} --no-input --username root --email root@example.com")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_people_talk_through_nginx(stack, scheme):
    """Visitors sign up and chat over plain sockets and over TLS, and static files are served."""
    ann, ben = Visitor(stack, scheme), Visitor(stack, scheme)
    with ann.connect(f"room-{scheme}") as one, ben.connect(f"room-{scheme}") as other:
        assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
        wait_for_users(one, ann.name, ben.name)
        assert say(one, "1", "Grüße")["seq"] == 1
        assert receive(other)["text"] == "Grüße"
    page = ann.http.get(f"/chat/room-{scheme}/")
    assert page.status_code == 200
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert ann.http.get(path).status_code == 200, path
    for path in ("/healthz", "/readyz", "/metrics"):
        assert ann.http.get(path).status_code == 404


def test_message_reaches_both_servers(stack):
    """Members on both servers receive the message of one."""
    ann = Visitor(stack, "https")
    servers = stack.containers("web")
    with contextlib.ExitStack() as sockets:
        members = []
        while min(map(stack.connections, servers)) == 0:
            assert len(members) < 10
            members.append(sockets.enter_context(ann.connect("both")))
            assert receive(members[-1])["type"] == "welcome"
        say(members[0], "1", "everybody")
        assert [receive(member)["text"] for member in members[1:]] == ["everybody"] * (len(members) - 1)


def test_worker_finishes_what_a_killed_one_began(stack):
    """A job of the page survives the death of its worker, which the engine starts again."""
    ann = Visitor(stack, "https")
    page = ann.http.get("/jobs/")
    key = re.search('name="key" value="([^"]+)"', page.text)[1]
    answer = ann.http.post("/jobs/", data={"csrfmiddlewaretoken": csrf_token(page), "key": key, "chapters": "5"})
    assert (answer.status_code, answer.headers["location"]) == (302, "/jobs/")
    (worker,) = stack.containers("worker")
    wait_until(lambda: 'data-state="running"' in ann.http.get("/jobs/").text, "a running job")
    os.kill(stack.engine.inspect(worker)["State"]["Pid"], signal.SIGKILL)
    wait_until(lambda: "5 chapters, 1500 words" in ann.http.get("/jobs/").text, "the job's result", 90)


def section(project, title: str, block: int = 0) -> str:
    """Return the commands of a section of deploy/README.md."""
    page = (project / "deploy" / "README.md").read_text()
    text = re.search(rf"### {title}\n(.*?)(?=\n### |\Z)", page, re.DOTALL)[1]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[block]


def test_site_has_no_privileges_in_its_services(stack):
    """The site's role in PostgreSQL owns the database without being a superuser, and Redis asks for a password."""
    code = """
import os, psycopg, redis
ask = "SELECT current_user, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user"
print(psycopg.connect(os.environ["DATABASE_URL"]).execute(ask).fetchone())
for role in ("postgres", "nobody"):
    try:
        psycopg.connect(os.environ["DATABASE_URL"].replace("//site:", f"//{role}:"))
    except psycopg.OperationalError as error:
        print("password authentication failed" in str(error))
try:
    redis.Redis("redis").ping()
except redis.AuthenticationError:
    print("no password")
"""
    said = stack.compose("exec", "-T", "web", "python", "-c", code)
    assert said.splitlines() == ["('site', False, False)", "True", "True", "no password"]


def test_update_loses_nothing(stack):
    """A member misses and repeats no message while both servers are replaced."""
    commands = section(stack.project, "Update")
    # There is nothing to pull, the image exists, and docker-compose 1 does not wait.
    for left_out in ("git pull\n", "docker compose build\n", " --wait"):
        assert left_out in commands
        commands = commands.replace(left_out, "")
    start, replace = re.fullmatch(r"(.*)(for server .*)", commands, re.DOTALL).groups()
    ann, old = Visitor(stack, "https"), stack.containers("web")
    with talking(ann) as said:
        stack.sh(start)
        wait_until(lambda: stack.states()["web"] == ["healthy"] * 4, "four healthy servers")
        stack.sh(f"old='{' '.join(old)}'\n{replace}")
        assert stack.states()["web"] == ["healthy"] * 2
        assert not set(stack.containers("web")) & set(old)
        count = len(said)
        wait_until(lambda: len(said) > count + 5, "the talk goes on")
    texts = [message["text"] for message in ann.history("update", "?limit=500")["messages"]]
    assert texts == [str(number) for number in range(len(said))]
    assert [message["seq"] for message in said] == list(range(1, len(said) + 1))


@contextlib.contextmanager
def talking(person):
    """Send one number after another, and reconnect after 4012. Yield the acknowledged ones."""
    said, stop, failures = [], threading.Event(), []

    def talk():
        while not stop.is_set():
            try:
                with person.connect("update", f"?after={len(said)}") as connection:
                    while not stop.is_set():
                        number = str(len(said))
                        send(connection, type="send", ref=number, text=number)
                        # A replayed or repeated message comes first.
                        while (event := receive(connection)).get("ref") != number:
                            assert event["type"] in {"welcome", "message"}, event
                        said.append(event)
                        stop.wait(0.1)
            except (ConnectionClosed, OSError, TimeoutError, WebSocketException):
                stop.wait(0.2)
            except Exception as failure:
                failures.append(failure)
                return

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield said
    finally:
        stop.set()
        thread.join(30)
    assert failures == []


def test_new_certificate_is_served_after_a_reload(stack):
    """nginx serves the new certificate after it reloads."""
    first = ssl.get_server_certificate(("127.0.0.1", stack.ports["https"]))
    stack.compose("run", "--rm", "certificate", "rm", "fullchain.pem")
    stack.compose("run", "--rm", "certificate")
    stack.sh(section(stack.project, "Certificate").replace(" exec ", " exec -T "))
    wait_until(
        lambda: ssl.get_server_certificate(("127.0.0.1", stack.ports["https"])) != first, "the new certificate", 10
    )


def test_example_secret_is_refused_in_production(stack):
    """The example's secret stops the start: no table changes, no server starts, and one line names the reason."""
    (secret,) = re.findall("^SECRET_KEY=.*", (stack.project / ".env.example").read_text(), re.MULTILINE)
    command = ["docker", "compose", "run", "--rm", "--no-deps", "-e", "DEBUG=false", "-e", secret]
    for service in ("migrate", "web"):
        done = subprocess.run(
            [*command, service],
            cwd=stack.project,
            env=stack.engine.environ | stack.variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "SECRET_KEY" in line]
        assert (done.returncode, len(lines)) == (1, 1), done.stdout + done.stderr
        assert "Insecure, because everybody can read it in .env.example." in lines[0]


def test_operators_see_health_and_logs(stack):
    """Operators see the health of the containers, the servers' logs, and the pages closed to visitors."""
    assert stack.sh("docker compose ps").count("(healthy)") == 6
    assert "startup complete" in stack.sh("timeout 5 docker compose logs --follow web || test $? = 124")
    looked = stack.sh(section(stack.project, "Look").replace(" exec ", " exec -T "))
    assert "realtime_connections" in looked


def test_backup_is_restored(stack):
    """A restored backup has the messages sent before it and none sent later, and users can chat again."""
    save, restore = (section(stack.project, "Back up", block) for block in (0, 1))
    ann = Visitor(stack, "https")
    with ann.connect("backup") as connection:
        assert receive(connection)["type"] == "welcome"
        say(connection, "1", "kept")
        stack.sh(save)
        assert say(connection, "2", "forgotten")["seq"] == 2
    stack.sh(restore)
    wait_until(lambda: stack.states()["web"] == ["healthy"] * 2, "two healthy servers")
    assert [message["text"] for message in ann.history("backup")["messages"]] == ["kept"]
    with ann.connect("backup", "?after=1") as connection:
        assert receive(connection)["type"] == "welcome"
        assert say(connection, "3", "on")["seq"] == 2


def test_services_restart(stack):
    """Services restart: those of development by the command of README.md, nginx after a reload."""
    (command,) = re.findall("`(docker compose up -d [^`]+)`", (stack.project / "README.md").read_text())
    stack.sh(f"{command.replace('up -d', 'stop')}\n{command}\ndocker compose restart nginx")
    healthy = ["healthy"]
    wait_until(
        lambda: [stack.states()[service] for service in ("nginx", "postgresql", "redis")] == [healthy] * 3,
        "healthy services",
    )
    with Visitor(stack, "https").connect("services") as connection:
        assert receive(connection)["type"] == "welcome"
        say(connection, "1", "hi")


@pytest.mark.parametrize("server", SITES)
def test_server_exits_in_time(engine, cookies_session, server):
    """The server exits in time in production on a read-only file system, as the container's first process."""
    project = bake_site(cookies_session, server)
    engine.build(project, f"{server}-site")
    services = {
        "DATABASE_URL": {"sqlite": "sqlite:////tmp/db", "postgresql": "postgresql://nobody/site"}[
            SITES[server]["database"]
        ],
        "PORT": "9000",
    }
    if SITES[server]["channel_layer"] == "redis":
        services["REDIS_URL"] = "redis://nobody"
    variables = [f"--env={name}={value}" for name, value in {**PRODUCTION, **services}.items()]
    confined = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none"]
    start = time.monotonic()
    container = engine.docker("run", "--detach", *confined, *variables, f"{server}-site").strip()
    wait_until(lambda: engine.health(container) == "healthy", f"a healthy {server}")
    healthy = time.monotonic() - start
    start = time.monotonic()
    engine.docker("stop", "--time", str(GRACE), container)
    ended = time.monotonic() - start
    print(f"\n{server}: healthy after {healthy:.1f} s, ended after {ended:.1f} s")
    assert (engine.inspect(container)["State"]["ExitCode"], ended < 5) == (0, True), engine.docker("logs", container)


def test_production_on_one_machine_with_nothing_installed(engine, cookies_session, tmp_path):
    """One server with SQLite and a folder for the certificate serves users over TLS, and backups are restored."""
    project = bake_site(cookies_session, "hypercorn")
    stack = Stack(engine, project, TLS_FOLDER=str(tmp_path / "tls"))
    with (project / ".env").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in PRODUCTION.items())
    engine.build(project, "hypercorn-site")
    with stack:
        assert stack.states() == {
            "nginx": ["healthy"],
            "web": ["healthy"],
            "cleanup": ["running"],
            "migrate": ["exit 0"],
            "certificate": ["exit 0"],
        }
        assert (tmp_path / "tls" / "fullchain.pem").exists()
        answer = httpx.get(
            f"http://localhost:{stack.ports['http']}/", headers={"Host": "chat.example.com"}, trust_env=False
        )
        assert (answer.status_code, answer.headers["location"]) == (301, "https://chat.example.com/")
        ann, ben = (Visitor(stack, "https", "chat.example.com") for _ in range(2))
        with ann.connect("production") as one, ben.connect("production") as other:
            assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
            say(one, "1", "hi")
            assert receive(other)["text"] == "hi"
        page = ann.http.get("/chat/production/")
        static = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        assert static
        for path in static:
            assert "immutable" in ann.http.get(path).headers["cache-control"], path
        with pytest.raises(AssertionError, match=r"realtime\.E001"):
            stack.compose("exec", "-T", "web", "python", "manage.py", "check", "--deploy")
        save, restore = (section(project, "Back up", block) for block in (0, 1))
        stack.sh(save)
        delete = "from chat.models import Message; Message.objects.all().delete()"
        stack.compose("exec", "-T", "web", "python", "manage.py", "shell", "-c", delete)
        assert ann.http.get("/chat/production/messages/").json()["messages"] == []
        stack.sh(restore)
        wait_until(lambda: '"hi"' in ann.http.get("/chat/production/messages/").text, "the message is back", 60)
    backup = project.parent / f"{project.name}.backup"
    assert backup.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(backup)) as database:
        assert database.execute("SELECT text FROM chat_message").fetchall() == [("hi",)]


def test_smoke_test_passes_on_a_stack(engine, cookies_session, image, tmp_path):
    """The steps of CI's job with Docker Compose work: users chat and trust nginx's certificate."""
    port = str(free_port())
    url = f"https://localhost:{port}"
    with Stack(engine, bake_site(cookies_session, "uvicorn"), HTTPS_PORT=port, ALLOWED_ORIGINS=url) as stack:
        certificate = tmp_path / "site.pem"
        certificate.write_text(stack.compose("exec", "-T", "nginx", "cat", "/etc/nginx/tls/fullchain.pem"))
        output = run([sys.executable, "-m", "tools.smoke", url, str(certificate)], TEMPLATE, clean_environ())
    assert output == f"Two people talked at {url}\n"
