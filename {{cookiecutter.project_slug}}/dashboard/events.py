"""Events that viewers get, one each second."""

from typing import Any

from django.utils import timezone

from realtime.broadcast import group_name
from realtime.figures.registry import read

FEED = group_name("dashboard", "figures")
KEPT = 300  # events, for charts of five minutes


def figures_event() -> dict[str, Any]:
    """Return the figures of all apps as they are now."""
    at = timezone.now().isoformat(timespec="milliseconds")
    values = {label: value for label, value in read().items() if value is not None}
    return {"type": "figures", "at": at, "values": values}
