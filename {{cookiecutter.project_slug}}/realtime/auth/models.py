"""Failed attempts, such as sign-ins, in the database: every process and machine counts."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Self

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in
from django.db import models, transaction
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from realtime.auth.throttle import TooManyRequests, address_of
from realtime.conf import settings


class Throttle(models.Model):
    """Failures under a key. From the limit on, each doubles the wait before the next attempt."""

    SHORTEST_WAIT = timedelta(seconds=30)
    LONGEST_WAIT = timedelta(minutes=15)  # no stranger can lock an account for ever
    MEMORY = timedelta(days=1)  # failures are forgotten after this long without another
    TRUST = timedelta(days=90)  # a key without failures is forgotten after this long

    key = models.CharField(max_length=64, primary_key=True)  # a digest
    failures = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.failures} failures, next attempt at {self.retry_at:%H:%M:%S}"

    @classmethod
    @contextmanager
    def attempt(cls, limits: Mapping[str, int]) -> Iterator[Callable[[], None]]:
        """Count an attempt as failed under each key, until the yielded function is called.

        `limits` has the failures that each key may have without a wait. Raise TooManyRequests
        within a wait. Counting first also limits attempts that run at the same time.
        """
        rows = {digest(key): limit for key, limit in limits.items()}
        for row in cls.objects.filter(pk__in=rows):  # a refusal locks nothing
            row.raise_in_wait(timezone.now(), rows[row.pk])
        cls.charge(rows)

        def succeed() -> None:
            for row in rows:  # one after the other: together they could deadlock with `charge()`
                charged = cls.objects.filter(pk=row, failures__gt=0)
                charged.update(failures=models.F("failures") - 1, retry_at=timezone.now())

        try:
            yield succeed
        except TooManyRequests:  # nothing was attempted
            succeed()
            raise

    @classmethod
    def charge(cls, limits: Mapping[str, int]) -> None:
        with transaction.atomic():
            for key, limit in sorted(limits.items()):  # in one order, against deadlocks
                row, _ = cls.objects.select_for_update().get_or_create(key=key)
                now = timezone.now()
                row.raise_in_wait(now, limit)
                row.count_failure(now, limit)
                row.save()

    def raise_in_wait(self, now: datetime, limit: int) -> None:
        if self.failures >= limit and self.retry_at > now:
            raise TooManyRequests((self.retry_at - now).total_seconds())

    def count_failure(self, now: datetime, limit: int) -> None:
        self.failures = 1 if now - self.retry_at > self.MEMORY else self.failures + 1
        wait = timedelta(0)
        if self.failures >= limit:
            wait = self.SHORTEST_WAIT * 2 ** min(self.failures - limit, 10)
        self.retry_at = now + min(wait, self.LONGEST_WAIT)

    @classmethod
    def expired(cls) -> models.QuerySet[Self]:
        """Return the rows that have expired, for `manage.py cleanup` to delete."""
        now = timezone.now()
        failed = models.Q(failures__gt=0, retry_at__lt=now - cls.MEMORY)
        return cls.objects.filter(failed | models.Q(retry_at__lt=now - cls.TRUST))


def digest(key: str) -> str:
    """Return the digest of a key, which contains what people typed."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def of_address(request: HttpRequest | None, what: str) -> dict[str, int]:
    """Return the limit of an address for `Throttle.attempt()`, none if the address is unknown."""
    address = address_of(request)
    return {f"{what} from {address}": settings.REALTIME_MAX_ADDRESS_FAILURES} if address else {}


def of_password(user: AbstractBaseUser) -> dict[str, int]:
    """Return the limit of guesses by somebody who found a browser with a session."""
    return {f"password of {user.pk}": settings.REALTIME_MAX_NAME_FAILURES}


def of_sign_in(request: HttpRequest | None, name: str) -> dict[str, int]:
    """Return the limits of a sign-in.

    An address where the user signed in before is counted on its own, so that strangers cannot
    lock anyone out.
    """
    home = f"{address_of(request)} {name}"
    trusted = Throttle.objects.filter(pk=digest(home)).exists()
    limits = {} if trusted else of_address(request, "sign-ins")
    return {home if trusted else f"name {name}": settings.REALTIME_MAX_NAME_FAILURES, **limits}


@receiver(user_logged_in)
def trust_address(request: HttpRequest | None, user: AbstractBaseUser, **_: Any) -> None:
    """Store that the user signed in at this address."""
    if address := address_of(request):
        values = {"failures": 0, "retry_at": timezone.now()}
        key = digest(f"{address} {user.get_username()}")
        Throttle.objects.update_or_create(key=key, defaults=values)
