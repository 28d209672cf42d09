"""Figures of the sockets. Any app may have a module of this name with figures of its own."""

from django.utils.translation import gettext_noop

from realtime.figures.registry import source
from realtime.figures.sockets import socket_figures


@source
def sockets() -> dict[str, float]:
    """Return what all processes of the site do."""
    now = socket_figures()
    return {
        gettext_noop("Connections"): now["connections"],
        gettext_noop("Messages per second"): round(now["received"] + now["sent"], 1),
        gettext_noop("Latency in ms"): round(now["latency"] * 1000, 1),
    }
