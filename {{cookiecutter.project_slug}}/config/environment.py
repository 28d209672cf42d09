"""Reads the environment, and ends the start with one line for each value that is wrong."""

import os
import ssl
import sys
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import dj_database_url
from dotenv import dotenv_values
from environs import Env, EnvValidationError, ValidationError

from realtime.origin import parse_origin

type IPNetwork = IPv4Network | IPv6Network

BASE_DIR = Path(__file__).resolve().parent.parent

# Not eager: `seal()` judges all values together, so that one start shows every mistake.
env = Env(eager=False)
env.read_env(BASE_DIR / ".env", recurse=False)


@env.parser_for("secret_key")
def secret_key(value: str, *, development: bool) -> str:
    """A key that is long enough and, but for development, not marked as one that others know."""
    if len(value) < 50:
        raise ValidationError(
            "Shorter than 50 characters. Make one: "
            'python -c "import secrets; print(secrets.token_urlsafe(48))".'
        )
    if value.startswith("django-insecure-") and not development:
        raise ValidationError(
            "It is insecure, as the one of .env.example is. Make your own: "
            'python -c "import secrets; print(secrets.token_urlsafe(48))".'
        )
    return value


@env.parser_for("database")
def database(value: str, *, scheme: str) -> dict[str, Any]:
    """Django's description of the database at a URL of the given scheme."""
    try:
        if value.startswith(f"{scheme}://"):
            return {**dj_database_url.parse(value)}
    except ValueError:
        pass
    raise ValidationError(f"Not a valid {scheme}:// URL.")


@env.parser_for("origins")
def origins(value: str | list[str]) -> list[str]:
    """The origins of a comma-separated list, each as a browser would send it; a list stays."""
    if isinstance(value, list):
        return value
    try:
        return [parse_origin(entry.strip()) for entry in value.split(",")]
    except ValueError as error:
        raise ValidationError(f"{error}.") from error


@env.parser_for("networks")
def networks(value: str | list[str]) -> list[IPNetwork]:
    """The networks of a comma-separated list, or of a list; an address is a network of one."""
    entries = value.split(",") if isinstance(value, str) else value
    try:
        return [ip_network(entry.strip()) for entry in entries]
    except ValueError as error:
        raise ValidationError(f"{error}.") from error


@env.parser_for("file")
def file(value: str | None) -> str | None:
    """Return the absolute path of a readable file. An empty value means no file."""
    if not value:
        return None
    path = BASE_DIR / value
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValidationError(f"{path} is not a readable file.")
    return str(path)


def seal() -> None:
    """Accept what was read, or exit with a line that names each bad variable and an example."""
    try:
        env.seal()
    except EnvValidationError as error:
        assert isinstance(error.error_messages, dict)
        examples = dotenv_values(BASE_DIR / ".env.example")
        sys.exit(
            "\n".join(
                f"{name}: {' '.join(problems)}"
                + (f" Example: {name}={examples[name]}" if examples.get(name) else "")
                for name, problems in error.error_messages.items()
            )
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
        # An empty password, or OpenSSL would ask for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        reason = error.reason or "invalid, or protected by a password"
        sys.exit(f"TLS_CERTFILE, TLS_KEYFILE: cannot be used ({reason}). Set a chain and its key.")
