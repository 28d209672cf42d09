"""Throttling of attempts, such as sign-ins, in the database: every process and machine counts."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Self

from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone

from realtime.logs import report
from realtime.proxy import network_of


class TooManyRequests(Exception):
    """Refusal of a request for some seconds."""

    status = 429
    reason = "Too many attempts"

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        minutes = math.ceil(self.seconds / 60)
        wait = f"{self.seconds} seconds" if self.seconds < 120 else f"{minutes} minutes"
        super().__init__(f"{self.reason}. Try again in {wait}.")


class TooManyRequestsMiddleware:
    """Middleware that answers `TooManyRequests` with `Retry-After`: by `429.html`, or by JSON."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, TooManyRequests):
            return None
        report("throttled", logging.WARNING, path=request.path)
        # Programs accept anything. Browsers name HTML.
        kinds = ["application/json", "text/html"]
        response: HttpResponse
        if request.get_preferred_type(kinds) == "text/html":
            response = render(request, "429.html", {"error": error}, status=error.status)
        else:
            response = JsonResponse({"error": str(error)}, status=error.status)
        response.headers["Retry-After"] = str(error.seconds)
        return response


class Throttle(models.Model):
    """Failures under a key. From the limit on, each doubles the wait before the next attempt."""

    SHORTEST_WAIT = timedelta(seconds=30)
    LONGEST_WAIT = timedelta(minutes=15)  # no stranger can lock an account for ever
    MEMORY = timedelta(days=1)  # failures are forgotten after this long without another
    TRUST = timedelta(days=90)  # a key without failures is forgotten after this long

    key = models.CharField(max_length=64, primary_key=True)  # a digest
    failures = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.failures} failures, next attempt at {self.retry_at:%H:%M:%S}"

    @classmethod
    @contextmanager
    def attempt(cls, limits: Mapping[str, int]) -> Iterator[Callable[[], None]]:
        """Count an attempt as failed under each key, until the yielded function is called.

        `limits` has the failures that each key may have without a wait. Raise TooManyRequests
        within a wait. Counting first also limits attempts that run at the same time.
        """
        rows = cls.charge({digest(key): limit for key, limit in limits.items()})

        def succeed() -> None:
            for row in rows:  # one after the other: together they could deadlock with `charge()`
                charged = cls._default_manager.filter(pk=row, failures__gt=0)
                charged.update(failures=models.F("failures") - 1, retry_at=timezone.now())

        try:
            yield succeed
        except TooManyRequests:  # nothing was attempted
            succeed()
            raise

    @classmethod
    def charge(cls, limits: Mapping[str, int]) -> list[str]:
        with transaction.atomic():
            for key, limit in sorted(limits.items()):  # in one order, against deadlocks
                row, _ = cls._default_manager.select_for_update().get_or_create(key=key)
                now = timezone.now()
                if row.failures >= limit and row.retry_at > now:
                    raise TooManyRequests((row.retry_at - now).total_seconds())
                row.count_failure(now, limit)
                row.save()
        return list(limits)

    def count_failure(self, now: datetime, limit: int) -> None:
        self.failures = 1 if now - self.retry_at > self.MEMORY else self.failures + 1
        wait = timedelta(0)
        if self.failures >= limit:
            wait = self.SHORTEST_WAIT * 2 ** min(self.failures - limit, 10)
        self.retry_at = now + min(wait, self.LONGEST_WAIT)

    @classmethod
    def trust(cls, key: str) -> None:
        """Store a key without failures, for `is_trusted()`."""
        values = {"failures": 0, "retry_at": timezone.now()}
        cls._default_manager.update_or_create(key=digest(key), defaults=values)

    @classmethod
    def is_trusted(cls, key: str) -> bool:
        return cls._default_manager.filter(key=digest(key)).exists()

    @classmethod
    def expired(cls) -> models.QuerySet[Self]:
        """Return the rows that have expired, for `manage.py cleanup` to delete."""
        now = timezone.now()
        failed = models.Q(failures__gt=0, retry_at__lt=now - cls.MEMORY)
        return cls._default_manager.filter(failed | models.Q(retry_at__lt=now - cls.TRUST))


def digest(key: str) -> str:
    """Return the digest of a key, which contains what people typed."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def address_of(request: HttpRequest | None) -> str:
    """Return what the attempts of the client's address are counted under, "" if it is unknown."""
    return network_of(request.META.get("REMOTE_ADDR", "")) if request else ""
