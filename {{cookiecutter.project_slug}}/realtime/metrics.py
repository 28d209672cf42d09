"""Figures of the processes of this machine, for Prometheus."""

import os

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from realtime.conf import settings
from realtime.proxy import FORWARDED, parse

CONNECTIONS = Gauge("realtime_connections", "Open sockets", multiprocess_mode="livesum")
RECEIVED = Counter("realtime_messages_received", "Frames from clients")
SENT = Counter("realtime_messages_sent", "Frames to clients")
ERRORS = Counter("realtime_errors", "Events that were refused", ["code"])
FANOUT = Histogram(
    "realtime_fanout_seconds",
    "How long an event, with those that are written with it, took to reach a group's members here",
    buckets=(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
MALFORMED = Counter("realtime_malformed", "Layer messages that could not be read")
OUTBOX_DROPS = Counter("realtime_outbox_drops", "Clients closed because they were too slow")


@login_not_required
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the figures of all processes as text, or 401 if the client may not read them."""
    if not may_read(request):
        return HttpResponse(
            "Send METRICS_TOKEN as a bearer token.\n",
            content_type="text/plain",
            status=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def may_read(request: HttpRequest) -> bool:
    """Return whether the client sent `METRICS_TOKEN`, or is on this machine, without a proxy."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if settings.METRICS_TOKEN and scheme.lower() == "bearer":
        return constant_time_compare(token, settings.METRICS_TOKEN)
    if any(name.decode() in request.headers for name in FORWARDED):
        return False
    client = parse(request.META.get("REMOTE_ADDR", ""))
    return client is not None and client.is_loopback
