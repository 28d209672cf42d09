"""Storing, publishing and replaying the events of feeds."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from django.db import IntegrityError, connection, models, transaction

from realtime.batches import in_batches
from realtime.broadcast import apublish, publish, publish_many
from realtime.feeds.models import FeedEvent, latest_seqs, reserve
from realtime.history import History
from realtime.keyset import iterate
from realtime.protocol import encode
from realtime.threads import refuse_in_event_loop

LOCK_MS = 200  # the longest wait for a feed while other feeds wait, too

type Stored = tuple[dict[str, Any], bool]  # the event, and whether it is new


class FeedHistory(History):
    """Events of the feed whose name is the key."""

    latest = staticmethod(latest_seqs)

    def between(self, after: int, until: int) -> Iterator[Mapping[str, Any]]:
        events = FeedEvent.objects.filter(feed__name=self.key, seq__gt=after, seq__lte=until)
        return (row.event() for row in iterate(events, "-seq"))


def append(feed: str, event: Mapping[str, Any], *, key: str = "") -> Stored:
    """Store an event as the next one of a feed, and publish it once the transaction is committed.

    Return it with its `seq`, and True. If the feed has an event of this key, return that one and
    False.
    """
    stored, is_new = store_event(Draft(feed, key, encode(event)))
    if is_new:
        publish(feed, stored)
    return stored, is_new


async def aappend(feed: str, event: Mapping[str, Any], *, key: str = "") -> Stored:
    """Store and publish an event as `append` does, from async code."""
    stored, is_new = await astore_event(Draft(feed, key, encode(event)))
    if is_new:
        await apublish(feed, stored)
    return stored, is_new


def append_many(events: Iterable[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Store events of many feeds in one transaction, then publish them.

    Each is a pair of feed and event. Return the events with their `seq`, in the same order.
    """
    refuse_in_event_loop("append_many()", "await sync_to_async(append_many)()")
    drafts = [Draft(feed, "", encode(event)) for feed, event in events]
    stored = [event for event, _ in insert_events(drafts)]
    publish_many((draft.feed, event) for draft, event in zip(drafts, stored, strict=True))
    return stored


def trim(feed: str, keep: int) -> None:
    """Delete all but the latest `keep` events of a feed."""
    last = latest_seqs([feed]).get(feed, 0)
    FeedEvent.objects.filter(feed__name=feed, seq__lte=last - keep).delete()


class Draft(NamedTuple):
    """Event that is not stored yet."""

    feed: str
    key: str
    body: str


def store_events(drafts: list[Draft]) -> list[Stored]:
    """Store each event as the next of its feed, all in one transaction."""
    try:
        return insert_events(drafts, lock_ms=LOCK_MS)
    except IntegrityError:
        return insert_events(drafts, lock_ms=LOCK_MS, stored_before=True)


# Each takes one draft. Concurrent events share a transaction.
store_event, astore_event = in_batches(store_events)


def insert_events(
    drafts: list[Draft], *, lock_ms: int = 0, stored_before: bool = False
) -> list[Stored]:
    """Store events. Raise IntegrityError if a key is stored already, unless `stored_before`."""
    places = [(draft.feed, draft.key or number) for number, draft in enumerate(drafts)]
    with transaction.atomic():
        if lock_ms and connection.vendor == "postgresql" and len(drafts) > 1:
            # A feed that another program locks must not hold up the other feeds for long.
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {lock_ms}")
        events = find_stored(drafts) if stored_before else {}
        new = [place for place in dict.fromkeys(places) if place not in events]
        feeds = reserve(Counter(feed for feed, _ in new))
        first = dict(zip(reversed(places), reversed(drafts), strict=True))
        for place in new:
            feed, key, body = first[place]
            feed_id, seq = feeds[feed]
            feeds[feed] = feed_id, seq + 1
            events[place] = FeedEvent(feed_id=feed_id, seq=seq + 1, key=key, body=body)
        FeedEvent.objects.bulk_create([events[place] for place in new])
    is_new = dict.fromkeys(new, True)
    return [(events[place].event(), is_new.pop(place, False)) for place in places]


def find_stored(drafts: list[Draft]) -> dict[tuple[str, str | int], FeedEvent]:
    """Lock the feeds, and return the events whose keys are stored."""
    feeds = reserve(dict.fromkeys((draft.feed for draft in drafts), 0))
    names = {feed_id: name for name, (feed_id, _) in feeds.items()}
    known = models.Q()
    for feed, key, _ in drafts:
        if key:
            known |= models.Q(feed=feeds[feed][0], key=key)
    return {(names[row.feed_id], row.key): row for row in FeedEvent.objects.filter(known)}
