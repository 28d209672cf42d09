"""Log lines that say on which connection they were written, and whose it is."""

import copy
import logging
from contextvars import ContextVar

from django.conf import settings
from django.db import InterfaceError, OperationalError
{% if cookiecutter.database == "postgresql" %}
from psycopg.errors import UndefinedTable
{% endif %}
{% if cookiecutter.channel_layer == "redis" %}
from redis.exceptions import RedisError
{% endif %}

# Of these it is the message that tells what to do, wherever they were raised.
OUTAGES = (InterfaceError, OperationalError{{ ", UndefinedTable" if cookiecutter.database == "postgresql" }}{{ ", RedisError" if cookiecutter.channel_layer == "redis" }})

facts: ContextVar[dict[str, str] | None] = ContextVar("facts", default=None)


def begin(**values: str) -> None:
    """Start the facts of a connection: all that it logs from here on carries them."""
    facts.set(values)


def add(**values: str) -> None:
    """Add facts to those of this connection."""
    known = facts.get()
    if known is not None:
        known.update(values)


class ConnectionFilter(logging.Filter):
    """Puts the facts of the connection into each record, as `connection`, `user` and `room`."""

    def filter(self, record: logging.LogRecord) -> bool:
        known = facts.get() or {}
        for name in ("connection", "user", "room"):
            setattr(record, name, known.get(name, "-"))
        return True


class OutageFilter(logging.Filter):
    """Makes one line of an outage; LOG_LEVEL=DEBUG shows the traceback."""

    def filter(self, record: logging.LogRecord) -> logging.LogRecord:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or settings.LOG_LEVEL == logging.DEBUG:
            return record
        if not isinstance(error, OUTAGES) and not isinstance(error.__cause__, OUTAGES):
            return record
        reason, *_ = str(error).splitlines()
        line = copy.copy(record)
        line.msg, line.args = "%s: %s", (record.getMessage(), reason)
        line.exc_info = line.exc_text = None
        return line
