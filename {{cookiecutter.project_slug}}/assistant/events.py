"""Validation of the events that a page sends."""

from typing import Any

from realtime.protocol import EventError, is_storable, ref_of

MAX_QUESTION = 4000  # characters


def parse_ask(event: dict[str, Any]) -> tuple[str, str]:
    """Return `ref` and `text` of an `ask` event. Raise EventError if one of them is invalid."""
    ref, text = ref_of(event), event.get("text")
    if ref is None:
        raise EventError("bad_message", "`ref` has 1 to 64 characters.")
    if not isinstance(text, str) or not text.strip() or not is_storable(text):
        raise EventError(
            "bad_message", "`text` is empty, or has characters that cannot be stored.", ref
        )
    if len(text) > MAX_QUESTION:
        raise EventError("too_long", f"`text` has at most {MAX_QUESTION} characters.", ref)
    return ref, text


def parse_job(event: dict[str, Any]) -> int:
    """Return `job` of a `stop` or `retry` event. Raise EventError if it is invalid."""
    job = event.get("job")
    if type(job) is not int:
        raise EventError("bad_message", "`job` is the number of an answer.", ref_of(event))
    return job
