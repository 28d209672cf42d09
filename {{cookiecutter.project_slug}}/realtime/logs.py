"""Log lines that say on which connection they were written, and whose it is."""

import logging
from contextvars import ContextVar

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
