"""Validation of the events that clients send to a room."""

from typing import Any
from urllib.parse import parse_qs

from realtime.protocol import EventError, is_storable, ref_of

MAX_TEXT = 4000  # characters
MAX_SEQ = 2**63 - 1  # limit of the database column


def parse_send(event: dict[str, Any]) -> tuple[str, str]:
    """Return `ref` and `text` of a `send` event. Raises EventError if one of them is invalid."""
    ref, text = ref_of(event), event.get("text")
    if ref is None:
        raise EventError("bad_message", "`ref` has 1 to 64 characters.")
    if not isinstance(text, str) or not text or not is_storable(text):
        raise EventError(
            "bad_message", "`text` is empty, or has characters that cannot be stored.", ref
        )
    if len(text) > MAX_TEXT:
        raise EventError("too_long", f"`text` has at most {MAX_TEXT} characters.", ref)
    return ref, text


def parse_after(query_string: bytes) -> int | None:
    """Return the number of `?after=`, None without one. Raises EventError if it is invalid."""
    query = parse_qs(query_string.decode("latin-1"), keep_blank_values=True)
    if "after" not in query:
        return None
    try:
        return parse_number(query["after"][-1])
    except ValueError as error:
        raise EventError("bad_message", f"`after`: {error}.") from error


def parse_number(value: str) -> int:
    """Parse a number of at least 0, as in `?after=`. Raises ValueError for anything else."""
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value!r} is not a number of at least 0")
    return int(value) if len(value) < 19 else MAX_SEQ
