"""Feeds, and their events in the order of the commits."""

import json
from collections.abc import Mapping
from datetime import timedelta
from itertools import batched
from typing import Any, Self

from django.db import connection, models
from django.utils import timezone

from realtime.conf import settings

FEEDS = 1000  # in one statement


class Feed(models.Model):
    """Series of events with numbers from 1 on, without a gap. Its group has the same name."""

    name = models.CharField(max_length=100, unique=True)
    seq = models.PositiveBigIntegerField(default=0)  # of the latest event

    def __str__(self) -> str:
        return self.name


class FeedEvent(models.Model):
    """Event of a feed. A feed has one event of each `key` that is not empty."""

    feed = models.ForeignKey(Feed, models.CASCADE, related_name="events", db_index=False)
    seq = models.PositiveBigIntegerField()
    key = models.CharField(max_length=150, default="")
    body = models.TextField()  # JSON, without `seq`
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("feed", "seq"), name="feed_event_seq_once"),
            models.UniqueConstraint(
                fields=("feed", "key"), condition=~models.Q(key=""), name="feed_event_key_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.seq}: {self.body:.40}"

    @classmethod
    def expired(cls) -> models.QuerySet[Self]:
        """Return events older than REALTIME_FEED_DAYS, for `manage.py cleanup` to delete.

        Feeds are kept and continue their numbers.
        """
        days = settings.REALTIME_FEED_DAYS
        if not days:
            return cls.objects.none()
        return cls.objects.filter(at__lt=timezone.now() - timedelta(days)).order_by("at")

    def event(self) -> dict[str, Any]:
        """Return the event that clients get."""
        event: dict[str, Any] = json.loads(self.body)
        return {**event, "seq": self.seq}


def take_numbers(counts: Mapping[str, int]) -> dict[str, int]:
    """Reserve as many numbers of each feed. Return the latest number of each before.

    Call it in a transaction: the feeds are locked until the commit, so that the order of numbers
    is the order of commits. A missing feed is created.
    """
    return {name: seq for name, (_, seq) in reserve(counts).items()}


def reserve(counts: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Reserve numbers as `take_numbers` does. Return the primary key of each feed, too."""
    found: dict[str, tuple[int, int]] = {}
    # In the order of the names, so that two transactions never wait for each other.
    for part in batched(sorted(counts.items()), FEEDS):
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO {Feed._meta.db_table} AS feed (name, seq)
                VALUES {", ".join(["(%s, %s)"] * len(part))}
                ON CONFLICT (name) DO UPDATE SET seq = feed.seq + excluded.seq
                RETURNING name, id, seq
                """,
                [value for pair in part for value in pair],
            )
            rows = cursor.fetchall()
        found |= {name: (key, seq - counts[name]) for name, key, seq in rows}
    return found


def latest_seqs(names: Any) -> dict[str, int]:
    """Return the number of the latest event of each feed that exists."""
    return dict(Feed.objects.filter(name__in=names).values_list("name", "seq"))
