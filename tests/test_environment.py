"""Environments of platforms: a port from outside, a router of unknown address, builds without values, PgBouncer."""

import contextlib
import re
import secrets
import shutil
import subprocess

import httpx
import psycopg
import pytest
from support.client import Person, hears, receive
from support.emitted import bake, environ_for, run
from support.matrix import CHOICES, PYTHONS
from support.programs import ROOTS, require_programs
from support.servers import free_port, listens, start_site, wait_until

SERVERS = [
    pytest.param(server, id=server, marks=pytest.mark.xdist_group(f"environment-{server}"))
    for server in CHOICES["server"]
]
MANAGE = ["uv", "run", "python", "manage.py"]
PASSWORD = "sesame-open-sesame"
CLIENT = "203.0.113.7"


@pytest.fixture(scope="module", params=SERVERS)
def project(request, cookies_session, environment):
    """A project as an image has it, with static files that were collected without a value, and its production."""
    project = bake(cookies_session, server=request.param, auth="none")
    (project / ".env").unlink()
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]))
    run([*MANAGE, "collectstatic", "--no-input"], project, environ)
    environ |= {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "localhost",
        "ALLOWED_ORIGINS": "https://localhost",
        "DATABASE_URL": "sqlite:///db.sqlite3",
    }
    run([*MANAGE, "migrate", "--verbosity", "0"], project, environ)
    return project, environ


def ask(url, source="127.0.0.1", **headers):
    """Return the status of a page for a proxy at an address of this machine."""
    headers = {"Host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source)) as client:
        return client.get(url, headers=headers, timeout=10).status_code


def test_router_of_a_platform_reaches_the_site(project):
    """PORT from outside opens each address. The router may have any address, and reports HTTPS and the client."""
    folder, environ = project
    environ = {**environ, "FORWARDED_ALLOW_IPS": "*", "LOG_LEVEL": "INFO"}
    with start_site(["env", "--unset=HOST", *MANAGE, "serve"], folder, environ, host="127.0.0.5") as site:
        router = {"source": "127.0.0.9", "X_Forwarded_For": f"127.0.0.1, {CLIENT}"}
        assert ask(site.url, **router) == 301
        assert ask(site.url, **router, X_Forwarded_Proto="https") == 200
        assert ask(f"{site.url}/no/such/page/", **router, X_Forwarded_Proto="https") == 404
        log = site.log.read_text()
    assert re.search(rf"Not Found: /no/such/page/ \[client={re.escape(CLIENT)} ", log)
    assert "FORWARDED_ALLOW_IPS" not in log


def test_every_address_includes_ipv4(project):
    """HOST=:: serves both families. The address of a proxy is known in both of its forms."""
    folder, environ = project
    with start_site(["env", "HOST=::", *MANAGE, "serve"], folder, environ) as site:
        statuses = [
            ask(f"http://{host}:{site.port}", source, X_Forwarded_Proto="https")
            for host, source in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("127.0.0.1", "127.0.0.9"))
        ]
        assert statuses == [200, 200, 301]
        named = re.findall("X-Forwarded-Proto of (.*) is ignored", site.log.read_text())
    assert named == ["::ffff:127.0.0.9"]


@pytest.fixture
def pgbouncer(postgres):
    """A PgBouncer that lends connections for single transactions, and the role and database of a site behind it."""
    require_programs({"pgbouncer": "pgbouncer"})
    port, name = free_port(), f"bounced_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN")
        connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    configuration = postgres.folder / f"{name}.ini"
    lines = [
        "[databases]",
        f"{name} = host=127.0.0.1 port={postgres.port} user={name}",
        "[pgbouncer]",
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =",
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2",
    ]
    configuration.write_text("\n".join(lines) + "\n")
    program = shutil.which("pgbouncer", path=ROOTS)
    with (postgres.folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([program, configuration], stdout=log, stderr=log, **postgres.account)
    wait_until(lambda: listens(port), "PgBouncer")
    yield f"postgresql://{name}:{PASSWORD}@127.0.0.1:{port}/{name}", name
    process.terminate()
    process.wait(10)


def test_site_works_through_pgbouncer(pgbouncer, postgres, cookies, environment):
    """Transaction pooling needs a parameter of the URL, which the message names. The time-outs are the role's."""
    url, name = pgbouncer
    project = bake(cookies, database="postgresql", auth="session", examples="all")
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), DATABASE_URL=url)
    with pytest.raises(AssertionError) as refused:
        run([*MANAGE, "migrate"], project, environ)
    assert "startup parameter" in str(refused.value)
    assert str(refused.value).endswith(". If this is PgBouncer, add ?pgbouncer=true to DATABASE_URL.\n")

    page = (project / "docs" / "troubleshooting.md").read_text()
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        for statement in re.findall("^ALTER ROLE .*;$", page, re.M):
            connection.execute(statement.replace("ROLE site", f"ROLE {name}"))
    environ["DATABASE_URL"] = f"{url}?pgbouncer=true"
    run([*MANAGE, "migrate"], project, environ)
    code = (
        "from django.db import connection as c; from accounts.models import User; "
        "print(list(User.objects.iterator())); print([c.cursor().execute(f'SHOW {name}').fetchone() for name in ('statement_timeout', 'lock_timeout')])"
    )
    output = run([*MANAGE, "shell", "--verbosity", "0", "--command", code], project, environ)
    assert output.splitlines() == ["[]", "[('30s',), ('5s',)]"]
    with start_site([*MANAGE, "serve"], project, environ) as site, contextlib.ExitStack() as stack:
        ann, ben = (stack.enter_context(Person(site, "session").connect("bounced")) for _ in range(2))
        assert (receive(ann)["type"], receive(ben)["type"]) == ("welcome", "welcome")
        assert all(hears(ann, ben, str(number)) for number in range(20))
        log = site.log.read_text()
    assert not re.search("ERROR|Traceback", log), log
