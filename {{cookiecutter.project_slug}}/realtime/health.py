"""Probes for load balancers: whether the process runs, and whether it can work."""

import asyncio
from collections.abc import Awaitable

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.db import connection
from django.http import HttpRequest, HttpResponse

from realtime.batches import any_rests
from realtime.layers import probe
from realtime.process import get_process

PATIENCE = 2  # seconds


@login_not_required
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process runs."""
    return HttpResponse("ok\n", content_type="text/plain")


@login_not_required
async def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 503 with the names of the services that do not answer, else 200.

    While the process drains, answer 503, so that it gets no new clients.
    """
    if get_process().draining:
        return HttpResponse("going away\n", content_type="text/plain", status=503)
    services = {"database": probe_database(), "channel layer": probe()}
    answers = await asyncio.gather(*(answers_in_time(service) for service in services.values()))
    away = [name for name, answered in zip(services, answers, strict=True) if not answered]
    if away:
        return HttpResponse(f"away: {', '.join(away)}\n", content_type="text/plain", status=503)
    return HttpResponse("ready\n", content_type="text/plain")


async def answers_in_time(service: Awaitable[None]) -> bool:
    try:
        await asyncio.wait_for(service, PATIENCE)
    except Exception:
        return False
    return True


@sync_to_async
def probe_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    if any_rests():
        raise TimeoutError("What is stored is still refused.")
