"""Answers the probes of a load balancer: does the process live, and can it work?"""

import asyncio
from collections.abc import Awaitable

from asgiref.sync import sync_to_async
{% if cookiecutter.auth != "none" %}
from django.contrib.auth.decorators import login_not_required
{% endif %}
from django.db import connection
from django.http import HttpRequest, HttpResponse

from realtime.layers import probe
from realtime.process import get_process

PATIENCE = 2  # seconds


{% if cookiecutter.auth != "none" %}
@login_not_required
{% endif %}
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


{% if cookiecutter.auth != "none" %}
@login_not_required
{% endif %}
async def readyz(request: HttpRequest) -> HttpResponse:
    """The database and the channel layer answer; else 503 and the names of those that do not.

    A process that is about to end is not ready either, so that it gets no new clients.
    """
    if get_process().draining:
        return HttpResponse("going away\n", content_type="text/plain", status=503)
    parts = {"database": ask_database(), "channel layer": probe()}
    answers = await asyncio.gather(*(answers_in_time(question) for question in parts.values()))
    away = [name for name, answered in zip(parts, answers, strict=True) if not answered]
    if away:
        return HttpResponse(f"away: {', '.join(away)}\n", content_type="text/plain", status=503)
    return HttpResponse("ready\n", content_type="text/plain")


async def answers_in_time(question: Awaitable[None]) -> bool:
    try:
        await asyncio.wait_for(question, PATIENCE)
    except Exception:
        return False
    return True


@sync_to_async
def ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
