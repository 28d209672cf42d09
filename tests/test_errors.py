"""Mistakes and missing services make one line with the fix, in real processes."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess

import httpx
import psycopg
import pytest
from support.client import Person, hears, receive
from support.emitted import bake, clean_environ, environ_for, run
from support.matrix import CHOICES, PYTHONS, TEMPLATE
from support.servers import Redis, end_group, free_port, start_site, wait_until
from websockets.exceptions import InvalidStatus

from demo import find_python

pytestmark = pytest.mark.xdist_group("errors")

ANSWERS = {"channel_layer": "redis", "database": "postgresql"}
MANAGE = ["uv", "run", "python", "manage.py"]
SERVER = ["uv", "run", "python", "manage.py", "serve"]
MIGRATIONS = r"ERROR realtime\.startup: Unapplied migrations: \d+\. Run: python manage\.py migrate"


def refusal(command, folder, environ):
    """Run a command that must fail. Return its output without make's own lines."""
    done = subprocess.run(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
    assert done.returncode != 0
    return [line for line in done.stdout.splitlines() if not line.startswith(("make: ***", "uv run ", "uv sync"))]


@pytest.fixture(scope="module", params=CHOICES["server"])
def project(request, cookies_session):
    return bake(cookies_session, **ANSWERS, server=request.param)


@pytest.fixture(scope="module")
def environ(environment):
    """Return variables for a PostgreSQL and a Redis that are not there, with secret passwords."""
    closed = free_port()
    return environ_for(
        environment(PYTHONS[-1], CHOICES["django_version"][0]),
        DATABASE_URL=f"postgresql://ann:hunter2hunter2@127.0.0.1:{closed}/site",
        REDIS_URL=f"redis://:hunter2hunter2@127.0.0.1:{closed}/0",
        HOST="127.0.0.1",
    )


@pytest.fixture(scope="module")
def plain(cookies_session):
    """Bake a project that needs no service."""
    return bake(cookies_session)


@pytest.fixture(scope="module")
def old_python(tmp_path_factory):
    """Return a function for the folder of an environment with an old Python."""

    def get(version):
        folder = tmp_path_factory.mktemp(f"python{version}") / "environment"
        run(["uv", "venv", "--quiet", "--python", find_python(version), str(folder)], TEMPLATE, clean_environ())
        return folder / "bin"

    return get


@pytest.mark.parametrize("target", ["setup", "dev", "serve", "test", "lint"])
def test_uv_is_missing(target, plain, tmp_path):
    """Without uv, every make target names where to get it."""
    for program in ("make", "sh"):
        (tmp_path / program).symlink_to(shutil.which(program))
    done = subprocess.run(["make", target], cwd=plain, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith(
        "uv is needed: `pip install uv`, or see https://docs.astral.sh/uv/getting-started/installation/.  Stop."
    )


def test_python_is_too_old(plain, old_python):
    """An old Python is reported with its version and the required one, instead of a syntax error."""
    (line,) = refusal([str(old_python("3.11") / "python"), "manage.py", "check"], plain, clean_environ())
    assert re.fullmatch(r"Python 3\.11\.\d+ is too old: 3\.12 is needed\. Put `uv run` before the command\.", line)


def test_uv_refuses_an_old_python(plain):
    """uv names the requested and the required Python."""
    environ = clean_environ(UV_PYTHON=find_python("3.11"))
    said = " ".join(" ".join(refusal(["make", "setup"], plain, environ)).split())  # uv wraps long lines
    assert re.search(r"Python 3\.11\.\d+, which is incompatible with the project's Python requirement: `>=3\.12`", said)


@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_python_is_too_old_for_the_template(target, old_python):
    """The template's Makefile names the required Python before it runs a command."""
    environ = clean_environ()
    environ["PATH"] = f"{old_python('3.10')}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(["make", target], cwd=TEMPLATE, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert re.search(
        r"Python 3\.11 or newer has to be first on the PATH as python3, this is Python 3\.10\.\d+\.  Stop\.$", line
    )


def taken(port):
    return f"PORT: cannot listen on 127.0.0.1:{port} (Address already in use). Choose another, such as PORT=9000."


@pytest.mark.parametrize(("command", "processes"), [(["make", "serve"], "1"), (SERVER, "2")], ids=["make", "two"])
def test_port_is_taken(command, processes, project, environ):
    """If the port is busy, the server exits with a line that names the port and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        lines = refusal(command, project, {**environ, "PORT": port, "WEB_CONCURRENCY": processes})
    assert lines == [taken(port)]


def test_port_is_taken_in_development(project, environ, tmp_path):
    """`make dev` shows the line too, and waits for an edit."""
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        port = str(listener.getsockname()[1])
        process = subprocess.Popen(
            ["make", "dev"],
            cwd=project,
            env={**environ, "PORT": port},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            line = (
                f"PORT: cannot listen on 127.0.0.1:{port} (Address already in use). Choose another, such as PORT=9000."
            )
            wait_until(lambda: line in log.read_text().splitlines(), "the line")
        finally:
            os.killpg(process.pid, signal.SIGINT)
            end_group(process)
    assert "Traceback" not in log.read_text()


def test_static_files_are_missing(project, environ):
    """In production the server exits without collected static files, and names the command."""
    production = {"DEBUG": "false", "ALLOWED_HOSTS": "localhost", "ALLOWED_ORIGINS": "https://localhost"}
    shutil.rmtree(project / "staticfiles", ignore_errors=True)
    assert refusal(SERVER, project, {**environ, **production, "PORT": str(free_port())}) == [
        "Static files are missing. Run: python manage.py collectstatic --no-input"
    ]


def test_postgresql_is_down(project, environ):
    """A command names the database without its password. A server logs the same and starts, with pages of errors."""
    address = environ["DATABASE_URL"].partition("@")[2]
    (line,) = refusal([*MANAGE, "migrate"], project, environ)
    assert line.startswith(f"DATABASE_URL: cannot connect to {address} (")
    assert line.endswith(" Fix DATABASE_URL, or start the database.")
    production = {"DEBUG": "false", "ALLOWED_HOSTS": "127.0.0.1", "ALLOWED_ORIGINS": "https://127.0.0.1"}
    run([*MANAGE, "collectstatic", "--no-input"], project, environ | production)
    with start_site(SERVER, project, environ | production) as site:
        text = site.log.read_text()
        check_error_pages(site.url)
    site.log.unlink()
    shutil.rmtree(project / "staticfiles")
    assert line in text
    assert not re.search("Traceback|hunter2", line + text)


def check_error_pages(url):
    """Check that pages of errors have the look of the site, also of the failure that the database causes."""
    https = {"X-Forwarded-Proto": "https"}
    signed_in = {"Cookie": f"__Host-sessionid={'x' * 32}"}
    with httpx.Client(base_url=url, headers=https, trust_env=False, timeout=30) as http:
        pages = {
            400: http.get("/", headers={"Host": "evil.example"}),
            403: http.post("/accounts/login/", data={"username": "ann"}),
            404: http.get("/nowhere/"),
            500: http.get("/", headers=signed_in),
        }
        for status, page in pages.items():
            assert page.status_code == status
            assert "Go to the start page" in page.text
            style = re.search(r'href="(/static/site\.\w{12}\.css)"', page.text)[1]
            assert http.get(style).status_code == 200


PUBLISH = "from realtime.broadcast import publish; publish('lobby', {'type': 'news'})"
VIEW = f"""
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse


@login_not_required
def news(request: HttpRequest) -> HttpResponse:
    {PUBLISH}
    return HttpResponse()


urlpatterns.append(path("news/", news))
"""


def test_events_of_a_shell_reach_no_socket_in_memory(environment, cookies):
    """Publishing in a process of its own warns once. A view of the server does not, before the first socket too."""
    project = bake(cookies)
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    output = run([*MANAGE, "shell", "--verbosity=0", "-c", f"{PUBLISH}; {PUBLISH}"], project, environ)
    warning = r"WARNING realtime\.broadcast: The in-memory channel layer does not reach the server's process, .*"
    assert len(re.findall(f"{warning} Set REDIS_URL, or publish in a view\\.", output)) == 1
    urls = project / "config" / "urls.py"
    urls.write_text(urls.read_text(encoding="utf-8") + VIEW, encoding="utf-8")
    run([*MANAGE, "migrate"], project, environ)
    with start_site(SERVER, project, environ) as site:
        assert httpx.get(f"{site.url}/news/", trust_env=False, timeout=30).status_code == 200
        assert "in-memory" not in site.log.read_text()


def test_tests_name_missing_services(project, environ):
    """Tests without their services end before the first one, with a line for each service."""
    (redis, database) = [line for line in refusal(["make", "test"], project, environ) if "connect" in line]
    assert "The channel layer does not answer: 127.0.0.1:" in redis
    assert " Start Redis, or fix REDIS_URL." in redis
    assert database.startswith(f"DATABASE_URL: cannot connect to {environ['DATABASE_URL'].partition('@')[2]} (")
    assert "hunter2" not in redis + database


def test_postgresql_refuses(plain_postgresql, postgres, environ):
    """PostgreSQL's own message names a wrong password or a missing database."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE ann LOGIN PASSWORD 'other'")
        rules = postgres.folder / "data" / "pg_hba.conf"
        rules.write_text("host all ann 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        connection.execute("SELECT pg_reload_conf()")
    for url, reason in {
        f"postgresql://ann:hunter2hunter2@127.0.0.1:{postgres.port}/postgres": (
            'password authentication failed for user "ann"'
        ),
        postgres.url("nothing"): 'database "nothing" does not exist',
    }.items():
        (line,) = refusal([*MANAGE, "migrate"], plain_postgresql, {**environ, "DATABASE_URL": url})
        assert line.startswith(f"DATABASE_URL: cannot connect to {url.partition('@')[2]} (")
        assert reason in line
        assert "hunter2" not in line


@pytest.fixture(scope="module")
def plain_postgresql(cookies_session):
    return bake(cookies_session, database="postgresql")


def test_missing_services_make_a_line_each(project, environ, postgres, tmp_path):
    """Without tables and Redis the server starts, logs one line per event, and works once they exist."""
    redis = Redis(tmp_path, "--requirepass", "hunter2hunter2")
    variables = {
        "REDIS_URL": f"redis://:hunter2hunter2@127.0.0.1:{redis.port}/0",
        "DATABASE_URL": postgres.new_database(),
        "WEB_CONCURRENCY": "2",
    }
    with start_site(SERVER, project, {**environ, **variables}) as site:
        log = Log(site.log)
        assert len(log.found(MIGRATIONS)) == 1
        (away,) = log.found(rf"ERROR realtime.startup: The channel layer does not answer: .*127.0.0.1:{redis.port}")
        assert " Start Redis, or fix REDIS_URL. [" in away

        address = f"{site.url}/accounts/login/"
        fields = {"username": "ann", "password": "none", "csrfmiddlewaretoken": "x" * 32}
        cookies = {f"{project.name}-csrftoken": "x" * 32}
        assert httpx.post(address, data=fields, cookies=cookies, trust_env=False, timeout=30).status_code == 500
        assert log.found("ERROR") == log.found("ERROR .*(realtime_auth_throttle|startup)")
        assert len(log.found("ERROR django.request: .*realtime_auth_throttle")) == 1

        run([*MANAGE, "migrate", "--verbosity", "0"], project, {**environ, **variables})
        ann, ben = Person(site, "session"), Person(site, "session")
        with ann.connect("lobby") as connection:
            assert receive(connection)["type"] == "welcome"
        assert len(log.found("WARNING realtime.redis.layer: Cannot subscribe, retrying: .*connecting to")) == 1
        log.check()

        redis.start()
        try:
            with contextlib.ExitStack() as stack:
                one, other = (stack.enter_context(person.connect("lobby")) for person in (ann, ben))
                assert (receive(one)["type"], receive(other)["type"]) == ("welcome", "welcome")
                tries = iter(range(1000))
                wait_until(lambda: hears(one, other, f"a{next(tries)}"), "the other receives it", 15)
        finally:
            redis.stop()

        with (
            pytest.raises(InvalidStatus),
            ann.connect("lobby", origin="http://evil.example", additional_headers=ann.cookies()),
        ):
            pass
        refused = "WARNING security: event=origin_refused origin=http://evil.example setting=ALLOWED_ORIGINS "
        assert len(log.found(re.escape(refused))) == 1
        log.check()


class Log:
    """Output of a server."""

    def __init__(self, path):
        self.path = path

    def found(self, pattern):
        return [line for line in self.path.read_text().splitlines() if re.search(pattern, line)]

    def check(self):
        """Check that every event is one line, without a password."""
        text = self.path.read_text()
        assert [line for line in text.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)] == [], text
        assert "hunter2" not in text
