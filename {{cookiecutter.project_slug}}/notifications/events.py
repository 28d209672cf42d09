"""Validation of the events that pages send."""

from typing import Any

from realtime.history import MAX_SEQ
from realtime.protocol import EventError


def parse_read(event: dict[str, Any]) -> tuple[int, int]:
    """Return the ids of a `read` event, `first` and `last`. Raise EventError if one is invalid."""
    first, last = event.get("first"), event.get("last")
    for value in (first, last):
        if type(value) is not int or not 0 < value <= MAX_SEQ:  # True is an int, too
            raise EventError("bad_message", "`first` and `last` are ids of notifications.")
    return first, last  # type: ignore[return-value]
