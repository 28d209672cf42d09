"""Log records with the facts of their connection, security events, and formats without secrets."""

import copy
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from django.db import DatabaseError
from pythonjsonlogger.json import JsonFormatter

from realtime.conf import settings
from realtime.protocol import Close
from realtime.types import Scope

# Outages, logged without a traceback, because their message names the fix. They are names,
# because the packages of some may not be installed.
OUTAGES = {
    "django.db.utils.InterfaceError",
    "django.db.utils.OperationalError",
    "psycopg.errors.UndefinedTable",
    "redis.exceptions.RedisError",
}

FACTS = ("client", "connection", "user", "room")
facts: ContextVar[dict[str, str] | None] = ContextVar("facts", default=None)

security = logging.getLogger("security")
# Closes that a defender wants to see.
CLOSES = {
    Close.SIGNED_OUT: "socket_revoked",
    Close.TOO_MANY_CONNECTIONS: "too_many_connections",
    Close.FLOODING: "flood",
}
LONGEST = 200  # characters of a value that comes from outside


def begin(**values: str) -> None:
    """Start the facts of a connection, and keep those of what it is part of."""
    facts.set({**(facts.get() or {}), **values})


def add(**values: str) -> None:
    """Add facts to those of this connection."""
    known = facts.get()
    if known is not None:
        known.update(values)


def report(event: str, level: int = logging.INFO, /, **values: str) -> None:
    """Log a security event on the logger `security`.

    Values that are facts of a connection replace those of the current one.
    """
    values = {name: value[:LONGEST] for name, value in values.items()}
    details = {name: value for name, value in values.items() if name not in FACTS}
    event_fields = {"event": event, **details}
    message = " ".join(f"{name}={quote(value)}" for name, value in event_fields.items())
    security.log(level, "%s", message, extra={"event": event_fields, **values})


class Closed(Protocol):
    """Connection that was closed."""

    id: str
    user_name: str
    scope: Scope


def report_close(connection: Closed, code: int) -> None:
    """Log a close of a socket, if its code is a sign of abuse or of a sign-in that ended."""
    if code in CLOSES:
        level = logging.INFO if code == Close.SIGNED_OUT else logging.WARNING
        client, user = address(connection.scope), connection.user_name or "-"
        report(CLOSES[code], level, client=client, connection=connection.id, user=user)


def address(scope: Scope) -> str:
    """Return the client's address, or "-" for a Unix socket."""
    client = scope.get("client")
    return client[0] if client else "-"


def quote(value: str) -> str:
    """Put a value into quotation marks if it could pass for several fields."""
    return value if re.fullmatch(r"[\w.:@+/-]+", value) else json.dumps(value, ensure_ascii=False)


class ConnectionFilter(logging.Filter):
    """Filter that adds the facts of the connection: `client`, `connection`, `user`, `room`."""

    def filter(self, record: logging.LogRecord) -> bool:
        known = facts.get() or {}
        for name in FACTS:
            if not hasattr(record, name):
                setattr(record, name, known.get(name, "-"))
        return True


# Characters that overwrite a terminal, end a line or reverse it: controls, separators, direction
# marks, and invisible characters.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# Query strings carry tickets, and parameters what people search for.
PARAMETER = re.compile(r"""([?&][^\s?&="']*=)[^\s&"']+""")
# A Redis that does not know a command quotes its arguments, such as the password of HELLO.
ARGUMENTS = re.compile(r", with args beginning with: .*")


def hide(text: str) -> str:
    """Hide the values of query strings, and arguments of commands."""
    return ARGUMENTS.sub("", PARAMETER.sub(r"\1...", text))


def clean(text: str) -> str:
    """Hide what may be secret, and escape what is not plain text."""
    text = hide(text)
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def clean_lines(text: str) -> str:
    """Clean a traceback, and indent it so that none of its lines looks like a record."""
    return "\n".join(f"    {clean(line)}" for line in text.split("\n"))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class SafeFormatter(logging.Formatter):
    """Format without what people wrote, as far as it gets into records."""

    def formatException(self, exc_info: Any) -> str:
        """Leave out the details of database errors, which quote whole rows."""
        text = super().formatException(exc_info)
        for error in chain(exc_info[1]):
            if isinstance(error, DatabaseError) and len(lines := str(error).splitlines()) > 1:
                text = text.replace(str(error), lines[0])
        return clean_lines(text)

    def formatStack(self, stack_info: str) -> str:
        return clean_lines(super().formatStack(stack_info))


class LineFormatter(SafeFormatter):
    """Format of one line for each record, with the facts of its connection at the end."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        known = " ".join(f"{name}={quote(getattr(record, name, '-'))}" for name in FACTS)
        return clean(f"{super().formatMessage(record)} [{known}]")


class JSONFormatter(SafeFormatter, JsonFormatter):
    """Format of one object for each record. Security events have fields of their own."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Keep the fields that are ours: a library may attach a whole request."""
        event = log_data.pop("event", {})
        kept = {*self._required_fields, "exc_info", "stack_info"}
        fields = {name: value for name, value in log_data.items() if name in kept}
        fields["message"] = hide(fields["message"])
        return {**fields, **event}


class OutageFilter(logging.Filter):
    """Filter that reduces the traceback of an outage to one line, unless LOG_LEVEL is DEBUG."""

    def filter(self, record: logging.LogRecord) -> logging.LogRecord:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or settings.LOG_LEVEL == logging.DEBUG:
            return record
        if not is_outage(error) and not is_outage(error.__cause__):
            return record
        reason, *_ = str(error).splitlines()
        line = copy.copy(record)
        line.msg, line.args = "%s: %s", (record.getMessage(), reason)
        line.exc_info = line.exc_text = None
        return line


def is_outage(error: BaseException | None) -> bool:
    """Return whether a class of the error is one of `OUTAGES`."""
    return any(f"{kind.__module__}.{kind.__qualname__}" in OUTAGES for kind in type(error).__mro__)


def logging_config(
    folder: Path, apps: Sequence[str], *, level: int, style: str, debug: bool
) -> dict[str, Any]:
    """Return LOGGING for the console: lines of text, or of JSON if `style` is `json`.

    `level` applies to the packages of `apps` that lie in the project's folder. At DEBUG, libraries
    would log headers, cookies and frames.
    """
    packages = {app.partition(".")[0] for app in apps}
    own = sorted(name for name in packages if (folder / name).is_dir())
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "connection": {"()": "realtime.logs.ConnectionFilter"},
            "outage": {"()": "realtime.logs.OutageFilter"},
        },
        "formatters": {
            "line": {
                "()": "realtime.logs.LineFormatter",
                "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s",
            },
            "json": {
                "()": "realtime.logs.JSONFormatter",
                "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s "
                "%(client)s %(connection)s %(user)s %(room)s",
            },
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "filters": ["connection", "outage"],
                "formatter": style,
            }
        },
        "loggers": {
            **{name: {"level": level} for name in own},
            # Events for auditors. LOG_LEVEL does not silence them.
            "security": {"level": "INFO"},
            # At DEBUG it logs the values of every query: texts, session keys, password hashes.
            "django.db.backends": {"level": "INFO"},
            # Under DEBUG a handler of Django's own would log every line again.
            **({"django": {}} if debug else {}),
        },
        "root": {"handlers": ["console"], "level": max(level, logging.INFO)},
    }
