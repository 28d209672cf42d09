"""Validation of the events that pages send."""

import re
from typing import Any

from devices.messages import NAME
from realtime.protocol import EventError

MAX_DEVICES = 50  # on one page of the list


def parse_look(event: dict[str, Any]) -> list[str]:
    """Return the names of a `look` event. Raise EventError if they are invalid."""
    names = event.get("devices")
    if not isinstance(names, list) or len(names) > MAX_DEVICES:
        raise EventError("bad_message", f"`devices` is a list of at most {MAX_DEVICES} names.")
    if not all(isinstance(name, str) and re.match(NAME, name) for name in names):
        raise EventError("bad_message", "`devices` has a name that no device can have.")
    return names
