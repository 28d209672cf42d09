"""Environment variables of a site. Each invalid value ends the start with one line."""

import os
import re
import secrets
import ssl
import sys
import tomllib
from collections.abc import Container
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote, urlsplit

import dj_database_url
from dotenv import dotenv_values
from environs import Env, EnvValidationError, ValidationError

from realtime.origin import parse_origin
from realtime.proxy import parse
from realtime.sqlite import PrivateConnection

type IPNetwork = IPv4Network | IPv6Network

REDIS_PACKAGES = ("channels-redis>=4.3,<5", "redis[hiredis]>=8.1,<9")
POSTGRESQL_PACKAGES = ("psycopg[binary,pool]>=3.3,<4",)
INSECURE = "django-insecure-"  # start of the key in .env.example
SHORTEST_PASSWORD = 12  # of a service
EXAMPLE_PASSWORD = ":your-own-password@"  # in the examples of URLs, whose own ones are too short
EVERY_ADDRESS = "0.0.0.0/0"
TIMEOUTS = "-c statement_timeout=30s -c lock_timeout=5s"
PRIVATE_DOMAINS = {"internal", "lan", "local", "localhost", "test"}


class MqttBroker(NamedTuple):
    """Address of an MQTT broker, and how to sign in. An empty `user` sends no password."""

    host: str
    port: int
    user: str
    password: str
    tls: bool


class Environment(Env):
    """The variables of the process, then those of the file `.env` in the project's folder.

    `seal()` judges all values together, so that one start shows every mistake.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(eager=False)
        self.folder = folder
        self.read_env(folder / ".env", recurse=False)
        if sys.argv[1:2] == ["collectstatic"]:
            set_placeholders(dotenv_values(folder / ".env"))
        self.add_parser("secret_key", parse_secret_key)
        self.add_parser("database", self.parse_database)
        self.add_parser("redis_hosts", parse_redis_hosts)
        self.add_parser("redis_prefix", parse_redis_prefix)
        self.add_parser("mqtt", parse_mqtt)
        self.add_parser("host", parse_host)
        self.add_parser("hosts", parse_hosts)
        self.add_parser("origins", parse_origins)
        self.add_parser("networks", parse_networks)
        self.add_parser("file", self.parse_file)
        self.add_parser("token", parse_token)
        self.add_parser("email", parse_email)

    def parse_database(self, value: str, *, development: bool = False) -> dict[str, Any]:
        """Return Django's description of the database. The scheme of the URL chooses its kind."""
        scheme, _, _ = value.partition("://")
        try:
            if scheme == "sqlite":
                return sqlite(dj_database_url.parse(value), self.folder)
            if scheme in {"postgresql", "postgres"}:
                check_password(value, development=development)
                return postgresql(dj_database_url.parse(value))
        except ValueError:
            pass
        raise ValidationError("Not a valid sqlite:// or postgresql:// URL.")

    def parse_file(self, value: str | None) -> str | None:
        """Return the absolute path of a readable file. An empty value means no file."""
        if not value:
            return None
        path = self.folder / value
        if not path.is_file() or not os.access(path, os.R_OK):
            raise ValidationError(f"{path} is not a readable file.")
        return str(path)

    def project_name(self) -> str:
        """Return the name in the project's pyproject.toml."""
        content = (self.folder / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(content)["project"]["name"])

    def seal(self) -> None:
        """Exit with a line for each invalid variable, and its example in `.env.example`."""
        try:
            super().seal()
        except EnvValidationError as error:
            assert isinstance(error.error_messages, dict)
            examples = dotenv_values(self.folder / ".env.example")
            lines = []
            for name, problems in error.error_messages.items():
                example = examples.get(name)
                line = f"{name}: {' '.join(problems)}"
                if example and example != os.environ.get(name):
                    long = re.sub(r":\w+@", EXAMPLE_PASSWORD, example)
                    line += f" Example: {name}={long}"
                lines.append(line)
            if "SECRET_KEY" not in os.environ and examples and not (self.folder / ".env").exists():
                lines.append(".env: missing. For development, run: python -m realtime.dotenv")
            sys.exit("\n".join(lines))


def set_placeholders(known: Container[str]) -> None:
    """Set what is required and missing, for a process that collects static files and ends.

    The build of an image knows no values, and this process uses none.
    """
    placeholders = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "localhost",
        "ALLOWED_ORIGINS": "https://localhost",
        "DATABASE_URL": "sqlite:///unused.sqlite3",
    }
    for name, value in placeholders.items():
        if name not in known:
            os.environ.setdefault(name, value)


def exit_for_packages(variable: str, service: str, requirements: tuple[str, ...]) -> NoReturn:
    """Exit with the command that adds the missing packages."""
    names = " ".join(f'"{requirement}"' for requirement in requirements)
    sys.exit(f"{variable}: the packages for {service} are missing. Install them: uv add {names}")


def parse_secret_key(value: str, *, development: bool) -> str:
    """Return a key of at least 50 characters. Refuse a public one, except in development."""
    if len(value) < 50:
        raise ValidationError(
            "Shorter than 50 characters. Make one: "
            'python -c "import secrets; print(secrets.token_urlsafe(48))".'
        )
    if value.startswith(INSECURE) and not development:
        raise ValidationError(
            "Insecure, because everybody can read it in .env.example. Make your own: "
            'python -c "import secrets; print(secrets.token_urlsafe(48))".'
        )
    return value


def check_password(url: str, *, development: bool) -> None:
    """Refuse a password that is easy to guess, except in development."""
    password = urlsplit(url).password
    if password and len(password) < SHORTEST_PASSWORD and not development:
        raise ValidationError(
            f"Its password has fewer than {SHORTEST_PASSWORD} characters. Make one: "
            'python -c "import secrets; print(secrets.token_hex(16))".'
        )


def check_development(secret_key: str, host: str, allowed_hosts: Any) -> None:
    """Exit with one line if DEBUG, or the key of `.env.example`, is open to others."""
    for name in (*allowed_hosts, host):
        if not is_private(name):
            sys.exit(
                f"DEBUG: true shows code and settings to every visitor of {name}. "
                "Set DEBUG=false, or ALLOWED_HOSTS=127.0.0.1,localhost and HOST=127.0.0.1."
            )
        if secret_key.startswith(INSECURE) and not is_loopback(name):
            sys.exit(
                "SECRET_KEY: Insecure, because everybody can read it in .env.example, and others "
                f"reach {name}. Make your own: "
                'python -c "import secrets; print(secrets.token_urlsafe(48))".'
            )


def is_private(name: str) -> bool:
    """Return whether a host cannot be on the internet."""
    if address := parse(name.strip("[]")):
        return not address.is_global
    _, dot, domain = name.rpartition(".")
    return name != "*" and (not dot or domain in PRIVATE_DOMAINS or name.endswith(".home.arpa"))


def is_loopback(name: str) -> bool:
    """Return whether a host is this machine."""
    address = parse(name.strip("[]"))
    return address.is_loopback if address else name.rpartition(".")[2] == "localhost"


def sqlite(database: Any, folder: Path) -> dict[str, Any]:
    if database["NAME"] == ":memory:":
        raise ValidationError("Connections cannot share a database in memory. Use a file.")
    return {
        **database,
        "NAME": folder / database["NAME"],
        "OPTIONS": {
            # Writers queue at BEGIN instead of failing half-way with "database is locked".
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL;",
            "factory": PrivateConnection,
        },
        # A file, because a database in memory cannot be shared with a server under test.
        "TEST": {"NAME": folder / "test.sqlite3"},
    }


def postgresql(database: Any) -> dict[str, Any]:
    try:
        import psycopg  # noqa: F401
        import psycopg_pool  # noqa: F401
    except ImportError:
        exit_for_packages("DATABASE_URL", "PostgreSQL", POSTGRESQL_PACKAGES)
    options = database.get("OPTIONS", {})
    # PgBouncer lends a connection for one transaction: it refuses options of connections, which
    # the role has instead, and loses cursors that outlive a transaction.
    has_pgbouncer = options.pop("pgbouncer", False)
    timeouts = {} if has_pgbouncer else {"options": TIMEOUTS}
    return {
        **database,
        # Under ASGI a connection that Django keeps stays with one thread. A pool shares them, and
        # checks after a restart of the database which ones still work.
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": bool(has_pgbouncer),
        "OPTIONS": {
            # Nothing waits for ever: neither for a lost machine, nor a slow query, nor a lock that
            # others queue behind. If a migration takes longer, add
            # `?options=-c%20statement_timeout=0` to its DATABASE_URL.
            "connect_timeout": 5,
            "tcp_user_timeout": 15_000,
            **timeouts,
            **options,
            # After the time-out for reconnecting the pool tries again at the next request.
            "pool": {"min_size": 1, "max_size": 16, "timeout": 5, "reconnect_timeout": 5},
        },
    }


def parse_redis_hosts(value: str | list[Any], *, development: bool = False) -> list[Any]:
    """Return the hosts of Redis, or an empty list for an empty value: then Redis is not used."""
    if not value or isinstance(value, list):
        return []
    with suppress(ValueError):  # of a malformed URL, which is refused below
        for url in value.split(","):
            check_password(url, development=development)
    try:
        from realtime.redis.hosts import redis_hosts
    except ImportError:
        exit_for_packages("REDIS_URL", "Redis", REDIS_PACKAGES)
    return redis_hosts(value)


def parse_redis_prefix(value: str) -> str:
    """Return a prefix that keeps the channels and keys of a site apart from others."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", value):
        raise ValidationError("Use letters, digits, -, _ and . only.")
    return value


def parse_mqtt(value: str, *, development: bool = False) -> MqttBroker | None:
    """Return the MQTT broker of an mqtt:// or mqtts:// URL, or None for an empty value."""
    if not value:
        return None
    try:
        check_password(value, development=development)
        url = urlsplit(value)
        tls = url.scheme == "mqtts"
        if (tls or url.scheme == "mqtt") and url.hostname and not url.path.strip("/"):
            user, password = (unquote(part or "") for part in (url.username, url.password))
            port = url.port or (8883 if tls else 1883)
            return MqttBroker(url.hostname, port, user, password, tls)
    except ValueError:  # such as a port that is not a number
        pass
    raise ValidationError("Not a valid mqtt:// or mqtts:// URL.")


def parse_token(value: str) -> str:
    """Return a bearer token of at least 20 characters, or an empty one: then it is not used."""
    if not re.fullmatch(r"([A-Za-z0-9._~+/=-]{20,})?", value):
        raise ValidationError(
            "Not 20 or more letters and digits. Make one: "
            'python -c "import secrets; print(secrets.token_urlsafe(32))".'
        )
    return value


def parse_email(value: str, *, development: bool = False) -> dict[str, Any]:
    """Return an entry of Django's MAILERS, or nothing for an empty value: then no mail is sent.

    In production `console:` counts as empty, because mails have links that must not be in a log.
    A password is sent over TLS only: smtps:// starts with it, smtp:// with STARTTLS.
    """
    if value in {"", "console:"}:
        is_shown = value and development
        return {"BACKEND": "realtime.mail.EmailBackend", "OPTIONS": {}} if is_shown else {}
    with suppress(ValueError):
        url = urlsplit(value)
        if url.scheme in {"smtp", "smtps"} and url.hostname and not url.path.strip("/"):
            user, password = (unquote(part or "") for part in (url.username, url.password))
            implicit = url.scheme == "smtps"
            options = {
                "host": url.hostname,
                "port": url.port or (465 if implicit else 587 if user else 25),
                "username": user,
                "password": password,
                "use_ssl": implicit,
                "use_tls": bool(user) and not implicit,
                "timeout": 10,
            }
            return {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": options}
    raise ValidationError("Not console: nor an smtp:// or smtps:// URL.")


def email_settings(mailer: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of MAILERS as the settings of Django before 6.1."""
    options = mailer.get("OPTIONS", {})
    named = {"username": "HOST_USER", "password": "HOST_PASSWORD", "host": "HOST", "port": "PORT"}
    values = {named.get(name, name.upper()): value for name, value in options.items()}
    backend = {"BACKEND": mailer["BACKEND"]} if mailer else {}
    return {f"EMAIL_{name}": value for name, value in (backend | values).items()}


def parse_host(value: str, *, development: bool = False) -> str:
    """Return the address to listen on. An empty value means the default.

    Platforms pass PORT to the process, and expect it to listen on all addresses.
    """
    is_on_platform = "PORT" in os.environ and not development
    return value.strip("[]") or ("0.0.0.0" if is_on_platform else "127.0.0.1")


def parse_hosts(value: str | list[str], *, development: bool = False) -> list[str]:
    """Return the hosts of a comma-separated list. Refuse `*`, except in development.

    Links in mails have the host of the request.
    """
    hosts = [host.strip() for host in value.split(",")] if isinstance(value, str) else value
    if "*" in hosts and not development:
        raise ValidationError(
            "* lets a visitor choose the host of links in mails. Name the hosts: "
            "chat.example.com, or .example.com for a whole domain."
        )
    return hosts


def parse_origins(value: str | list[str]) -> list[str]:
    """Return the origins of a comma-separated list, each as a browser sends it."""
    if isinstance(value, list):
        return value
    try:
        return [parse_origin(entry.strip()) for entry in value.split(",")]
    except ValueError as error:
        raise ValidationError(f"{error}.") from error


def parse_networks(value: str | list[str]) -> list[IPNetwork]:
    """Return the networks of a comma-separated list. An address is a network of one, `*` of all."""
    entries = value.split(",") if isinstance(value, str) else value
    names = [entry.strip() for entry in entries]
    try:
        return [ip_network(EVERY_ADDRESS if name == "*" else name) for name in names]
    except ValueError as error:
        raise ValidationError(f"{error}.") from error


def check_processes(redis_hosts: list[Any], **counts: int) -> None:
    """Exit with one line if several processes have no Redis to carry messages between them."""
    for name, count in counts.items():
        if count > 1 and not redis_hosts:
            sys.exit(
                f"{name}: {count} needs Redis, because the in-memory channel layer serves one "
                f"process. Set REDIS_URL, such as REDIS_URL=redis://127.0.0.1:6379/0, or {name}=1."
            )


def check_certificate(**files: str | None) -> None:
    """Exit with one line if TLS_CERTFILE and TLS_KEYFILE cannot be used together."""
    missing = [name for name, path in files.items() if path is None]
    if len(missing) == 2:
        return
    if missing:
        sys.exit(f"{missing[0]}: missing. Set both of {' and '.join(files)}, or neither.")
    certificate, key = files.values()
    assert certificate is not None
    try:
        # Without a password, an empty one here, OpenSSL would ask for it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        reason = error.reason or "invalid, or protected by a password"
        sys.exit(f"TLS_CERTFILE, TLS_KEYFILE: cannot be used ({reason}). Set a chain and its key.")
