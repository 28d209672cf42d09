"""Environment variables that a site reads with `realtime.environment`."""

import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
from django.core.mail import EmailMessage
from django.utils.module_loading import import_string
from dotenv import dotenv_values
from environs import ValidationError

from realtime.environment import (
    TIMEOUTS,
    Environment,
    email_settings,
    parse_email,
    parse_mqtt,
    parse_networks,
)

EXAMPLE = {key: value or "" for key, value in dotenv_values(".env.example").items()}

PRODUCTION = EXAMPLE | {
    "DEBUG": "false",
    "SECRET_KEY": "x" * 64,
    "ALLOWED_HOSTS": "site.example.com",
    "ALLOWED_ORIGINS": "https://site.example.com",
    "DATABASE_URL": "sqlite:///db.sqlite3",
    "REDIS_URL": "",
}


def lines_of(**variables):
    """Return the exit code of a process that reads the settings, and its lines on stderr."""
    command = [sys.executable, "-c", "import config.settings"]
    done = subprocess.run(command, env={**os.environ, **EXAMPLE, **variables}, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


@pytest.fixture
def load(monkeypatch):
    """Return a function that reads the settings again. It returns the lines of a failed start."""

    def load(environ):
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.delitem(sys.modules, "config.settings")
            try:
                import_module("config.settings")
            except SystemExit as end:
                return str(end.code).splitlines()
            return []

    return load


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "perhaps"),
        ("SECRET_KEY", "short"),
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("WEB_CONCURRENCY", "0"),
        ("DATABASE_URL", "mysql://db/name"),
        ("DATABASE_URL", "postgresql://host:port/name"),
        ("DATABASE_URL", "postgresql://site:postgres@host/name"),
        ("DATABASE_URL", "sqlite://:memory:"),
        ("DATABASE_URL", "sqlite://"),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", "site.example.com, *"),
        ("ALLOWED_ORIGINS", ""),
        ("ALLOWED_ORIGINS", "site.example"),
        ("ALLOWED_ORIGINS", "https://site.example/"),
        ("FORWARDED_ALLOW_IPS", "nginx"),
        ("MACHINES", "none"),
        ("HSTS_SECONDS", "-1"),
        ("METRICS_TOKEN", "short"),
        ("MESSAGE_RETENTION_DAYS", "-1"),
        ("LOG_LEVEL", "LOUD"),
        ("REDIS_PREFIX", ""),
        ("REDIS_PREFIX", "two:words"),
        ("REDIS_URL", "localhost"),
        ("REDIS_URL", "redis://:password@one:6379,two:6379"),
        ("REDIS_URL", "redis://:redis@localhost:6379/0"),
        ("REDIS_URL", "redis+sentinel://:redis@one:26379,two:26379/main/0"),
        ("SIGNUP_OPEN", "sometimes"),
        ("EMAIL_URL", "mail.example.com"),
        ("EMAIL_URL", "http://mail.example.com"),
        ("EMAIL_URL", "smtp://mail.example.com:port"),
    ],
)
def test_invalid_value_is_one_line(load, name, value):
    """An invalid value ends the start with one line, which names the variable and gives an example."""
    (line,) = load(PRODUCTION | {name: value})
    assert line.startswith(f"{name}: ")
    example = re.sub(r":\w+@", ":your-own-password@", EXAMPLE.get(name) or "")
    assert not example or f"Example: {name}={example}" in line


def test_example_has_no_short_password(monkeypatch, tmp_path):
    """The example of a URL with a password would not be refused for the same reason."""
    (tmp_path / ".env.example").write_text("DATABASE_URL=postgresql://site:postgres@127.0.0.1:5432/site\n")
    monkeypatch.setenv("SECRET_KEY", PRODUCTION["SECRET_KEY"])
    monkeypatch.setenv("DATABASE_URL", "postgresql://site:secret@db/site")
    environment = Environment(tmp_path)
    environment.database("DATABASE_URL")
    with pytest.raises(SystemExit) as end:
        environment.seal()
    _, _, example = str(end.value).partition("Example: DATABASE_URL=")
    assert example == "postgresql://site:your-own-password@127.0.0.1:5432/site"
    environment.parse_database(example)


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("", None),
        ("mqtt://127.0.0.1", ("127.0.0.1", 1883, "", "", False)),
        ("mqtt://site:p%40ss@broker:1884/", ("broker", 1884, "site", "p@ss", False)),
        ("mqtts://site:password@mqtt.example.com", ("mqtt.example.com", 8883, "site", "password", True)),
    ],
)
def test_mqtt_broker_is_a_url(url, broker):
    """The scheme decides on TLS and the default port. Without a URL there is no broker."""
    assert parse_mqtt(url, development=True) == broker


@pytest.mark.parametrize(
    "url", ["broker", "http://broker", "mqtt://", "mqtt://broker:port", "mqtt://a/b", "mqtt://a:b@c"]
)
def test_invalid_mqtt_broker_is_refused(url):
    """Other schemes, paths, invalid ports, and short passwords are refused in production."""
    with pytest.raises(ValidationError, match=r"mqtt|password"):
        parse_mqtt(url)


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Return a function that reads `.env` of an empty folder in a process with these variables and arguments."""

    def environment(env="", *arguments, **variables):
        for name in EXAMPLE:
            monkeypatch.setenv(name, "")  # restored after the test, even if it is set meanwhile
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["manage.py", *arguments])
        (tmp_path / ".env").write_text(env)
        return Environment(tmp_path)

    return environment


@pytest.mark.parametrize(
    ("env", "variables", "development", "host"),
    [
        ("", {}, False, "127.0.0.1"),
        ("PORT=9000", {}, False, "127.0.0.1"),
        ("", {"PORT": "10000"}, False, "0.0.0.0"),
        ("PORT=9000", {"PORT": "10000"}, False, "0.0.0.0"),
        ("", {"PORT": "10000"}, True, "127.0.0.1"),
        ("HOST=127.0.0.1", {"PORT": "10000"}, False, "127.0.0.1"),
        ("HOST=", {}, False, "127.0.0.1"),  # an empty address would be every one
        ("HOST=[::]", {}, False, "::"),
    ],
)
def test_port_of_the_process_opens_all_addresses(environment, env, variables, development, host):
    """A platform that gives PORT reaches the site, without DEBUG. HOST and PORT of `.env` stay on this machine."""
    assert environment(env, **variables).host("HOST", "", development=development) == host


def test_static_files_need_no_values(environment):
    """A build of an image collects static files with placeholders, which no other command gets."""

    def read(*arguments):
        found = environment("", *arguments)
        values = [
            found.secret_key("SECRET_KEY", development=False),
            found.hosts("ALLOWED_HOSTS"),
            found.origins("ALLOWED_ORIGINS"),
            found.database("DATABASE_URL")["NAME"].name if arguments[0] == "collectstatic" else None,
        ]
        found.seal()
        return values

    secret, *others = read("collectstatic", "--no-input")
    assert others == [["localhost"], ["https://localhost"], "unused.sqlite3"]
    assert secret != read("collectstatic")[0]
    with pytest.raises(SystemExit, match="SECRET_KEY: Environment variable not set"):
        read("serve", "collectstatic")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_postgresql_has_two_schemes(tmp_path, scheme):
    """Platforms write postgres://. Sessions have time-outs, except through PgBouncer."""
    parse = Environment(tmp_path).parse_database
    url = f"{scheme}://ann:a-long-password@db.example.com/site"
    database = parse(url)
    assert {name: database[name] for name in ("ENGINE", "USER", "HOST", "NAME", "DISABLE_SERVER_SIDE_CURSORS")} == {
        "ENGINE": "django.db.backends.postgresql",
        "USER": "ann",
        "HOST": "db.example.com",
        "NAME": "site",
        "DISABLE_SERVER_SIDE_CURSORS": False,
    }
    assert database["OPTIONS"]["options"] == TIMEOUTS
    pooled = parse(f"{url}?pgbouncer=true&sslmode=require")
    assert pooled["DISABLE_SERVER_SIDE_CURSORS"] is True
    assert pooled["OPTIONS"]["sslmode"] == "require"
    assert {"options", "pgbouncer"}.isdisjoint(pooled["OPTIONS"])
    assert parse(f"{url}?pgbouncer=false")["OPTIONS"] == database["OPTIONS"]


def test_any_proxy_is_a_network():
    """The address of a platform's router is not known before."""
    assert list(map(str, parse_networks("*, 10.0.0.1, fd00::/8"))) == ["0.0.0.0/0", "10.0.0.1/32", "fd00::/8"]


def test_any_host_is_refused_with_the_reason(load):
    """A wildcard of one domain's names is allowed."""
    (line,) = load(PRODUCTION | {"ALLOWED_HOSTS": "*"})
    assert line.startswith("ALLOWED_HOSTS: * lets a visitor choose the host of links in mails. Name the hosts: ")
    assert load(PRODUCTION | {"ALLOWED_HOSTS": ".example.com, [::1]"}) == []


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "MACHINES"])
def test_several_processes_need_redis(name):
    """Several processes or machines without Redis are one line with both ways out."""
    assert lines_of(REDIS_URL="", **{name: "2"}) == (
        1,
        [
            f"{name}: 2 needs Redis, because the in-memory channel layer serves one process. "
            f"Set REDIS_URL, such as REDIS_URL=redis://127.0.0.1:6379/0, or {name}=1."
        ],
    )


def test_certificate_and_key_belong_together(tmp_path):
    """One file without the other, or two that do not fit, are one line with the names of the variables."""
    path = tmp_path / "file.pem"
    path.write_text("neither")
    for files, start in (
        ({"TLS_CERTFILE": str(path)}, "TLS_KEYFILE: missing."),
        ({"TLS_KEYFILE": str(path)}, "TLS_CERTFILE: missing."),
        ({"TLS_CERTFILE": str(path), "TLS_KEYFILE": str(path)}, "TLS_CERTFILE, TLS_KEYFILE: cannot be used"),
    ):
        code, (line,) = lines_of(**files)
        assert (code, line[: len(start)]) == (1, start)


@pytest.mark.parametrize(
    ("variables", "start"),
    [
        ({"ALLOWED_HOSTS": "site.example.com"}, "DEBUG: true shows code and settings to every visitor of site.example"),
        ({"ALLOWED_HOSTS": "localhost,*"}, "DEBUG: true shows code and settings to every visitor of *."),
        ({"HOST": "8.8.8.8"}, "DEBUG: true shows code and settings to every visitor of 8.8.8.8."),
        ({"ALLOWED_HOSTS": "laptop.local"}, "SECRET_KEY: Insecure, because everybody can read it in .env.example"),
        ({"HOST": "0.0.0.0"}, "SECRET_KEY: Insecure, because everybody can read it in .env.example"),
    ],
)
def test_development_is_not_open_to_others(load, variables, start):
    """A public name with DEBUG, or the published key beyond this machine, is one line."""
    (line,) = load(EXAMPLE | variables)
    assert line.startswith(start)


@pytest.mark.parametrize("hosts", ["", "127.0.0.1,localhost,[::1]", "a.localhost", "laptop.local,laptop,192.168.1.5"])
def test_development_has_private_names(load, hosts):
    """Another device in the same network may try the site, with a key of its own."""
    assert load(EXAMPLE | {"ALLOWED_HOSTS": hosts, "HOST": "0.0.0.0", "SECRET_KEY": "x" * 64}) == []


def test_fresh_clone_gets_a_hint(tmp_path, monkeypatch):
    """Without a file `.env`, the last line is the command that makes one."""
    monkeypatch.delenv("SECRET_KEY", raising=False)
    (tmp_path / ".env.example").write_text("SECRET_KEY=example\n")
    environment = Environment(tmp_path)
    environment.secret_key("SECRET_KEY", development=True)
    with pytest.raises(SystemExit) as end:
        environment.seal()
    *_, line = str(end.value.code).splitlines()
    assert line == ".env: missing. For development, run: python -m realtime.dotenv"


@pytest.mark.parametrize(
    ("url", "port", "username", "password", "use_ssl", "use_tls"),
    [
        ("smtps://ann%40b.c:p%2Fw@mail.example.com", 465, "ann@b.c", "p/w", True, False),
        ("smtp://ann:pw@mail.example.com", 587, "ann", "pw", False, True),
        ("smtp://mail.example.com:2525", 2525, "", "", False, False),
    ],
)
def test_mail_server_is_a_url(url, port, username, password, use_ssl, use_tls):
    """A password needs TLS. The values are %-decoded."""
    mailer = parse_email(url)
    options = mailer["OPTIONS"]
    assert options == {
        "host": "mail.example.com",
        "port": port,
        "username": username,
        "password": password,
        "use_ssl": use_ssl,
        "use_tls": use_tls,
        "timeout": 10,
    }
    assert email_settings(mailer) == {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": "mail.example.com",
        "EMAIL_PORT": port,
        "EMAIL_HOST_USER": username,
        "EMAIL_HOST_PASSWORD": password,
        "EMAIL_USE_SSL": use_ssl,
        "EMAIL_USE_TLS": use_tls,
        "EMAIL_TIMEOUT": 10,
    }
    assert email_settings({}) == {}


def test_console_prints_long_links_whole(capsys):
    """A link may be copied from the console. A mail server would get it in lines of 76 characters."""
    backend = import_string(parse_email("console:", development=True)["BACKEND"])
    link = f"http://127.0.0.1:12345/accounts/reset/MQ/{'c' * 40}/"
    message = EmailMessage("Passw\u00f6rd", f"You\u2019re asked:\n\n{link}\n", to=["ann@example.com"])
    assert backend().send_messages([message]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[:4] == ["To: ann@example.com", "Subject: Passw\u00f6rd", "", "You\u2019re asked:"]
    assert link in printed
