"""Validation of the events that clients send to a room."""

from typing import Any

from realtime.protocol import EventError, is_storable, ref_of

MAX_TEXT = 4000  # characters


def parse_send(event: dict[str, Any]) -> tuple[str, str]:
    """Return `ref` and `text` of a `send` event. Raise EventError if one of them is invalid."""
    ref, text = parse_text(event)
    if not text:
        raise EventError("bad_message", "`text` is empty.", ref)
    return ref, text


def parse_edit(event: dict[str, Any]) -> tuple[str, int, str]:
    """Return `ref`, `seq` and `text` of an `edit` event. Raise EventError if one is invalid."""
    ref, text = parse_text(event)
    seq = event.get("seq")
    if type(seq) is not int:
        raise EventError("bad_message", "`seq` is not the number of a message.", ref)
    return ref, seq, text


def parse_text(event: dict[str, Any]) -> tuple[str, str]:
    """Return `ref` and `text`, which may be empty. Raise EventError if one of them is invalid."""
    ref, text = ref_of(event), event.get("text")
    if ref is None:
        raise EventError("bad_message", "`ref` has 1 to 64 characters.")
    if not isinstance(text, str) or not is_storable(text):
        raise EventError(
            "bad_message", "`text` is missing, or has characters that cannot be stored.", ref
        )
    if text and not text.strip():
        raise EventError("bad_message", "`text` has spaces only.", ref)
    if len(text) > MAX_TEXT:
        raise EventError("too_long", f"`text` has at most {MAX_TEXT} characters.", ref)
    return ref, text
