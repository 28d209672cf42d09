"""Feeds: numbered events that are stored, published, and replayed."""

import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.utils import timezone

from realtime.feeds.events import FeedHistory, aappend, append, append_many
from realtime.feeds.models import Feed, FeedEvent, take_numbers

PATH = "/ws/feed/news/"

pytestmark = pytest.mark.django_db(transaction=True)


def note(text, seq=None):
    """Return an event with a text, as it is appended or with its number."""
    event = {"type": "note", "text": text}
    return event if seq is None else event | {"seq": seq}


def stored(feed="news"):
    """Return the events of a feed, newest first."""
    return list(FeedHistory(feed).between(0, 1000))


def test_events_are_numbered_in_their_feed():
    """Each feed counts from 1, and an event is returned with its number."""
    assert append("news", note("a")) == (note("a", 1), True)
    assert append("other", note("b")) == (note("b", 1), True)
    assert append("news", note("c")) == (note("c", 2), True)
    assert stored() == [note("c", 2), note("a", 1)]
    assert FeedHistory.latest(["news", "other", "missing"]) == {"news": 2, "other": 1}


def test_event_with_a_key_is_stored_once():
    """The second one with a key is not stored, and the first one is returned. Other feeds have keys of their own."""
    assert append("news", note("a"), key="k") == (note("a", 1), True)
    assert append("news", note("b"), key="k") == (note("a", 1), False)
    assert append("other", note("b"), key="k") == (note("b", 1), True)
    assert append("news", note("c")) == (note("c", 2), True)
    assert stored() == [note("c", 2), note("a", 1)]


def test_repeated_key_in_a_transaction_of_the_caller():
    """The transaction goes on, and no number is lost."""
    append("news", note("a"), key="k")
    with transaction.atomic():
        assert append("news", note("b"), key="k") == (note("a", 1), False)
        assert append("news", note("c"), key="l") == (note("c", 2), True)
    assert stored() == [note("c", 2), note("a", 1)]


def test_concurrent_repetitions_are_stored_once():
    """Of callers at the same time one stores the event of a key. All get the stored one."""
    start, results = threading.Barrier(8), []

    def repeat(number):
        start.wait(5)
        results.append(append("news", note(number), key=str(number % 2)))
        connections.close_all()

    threads = [threading.Thread(target=repeat, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    news = stored()
    assert [event["seq"] for event in news] == [2, 1]
    new = [event for event, is_new in results if is_new]
    assert sorted(new, key=lambda event: -event["seq"]) == news
    assert [event in news for event, _ in results] == [True] * 8


def test_nothing_is_published_before_the_commit(monkeypatch):
    """An event that is rolled back is neither stored nor published, and its number is used again."""
    published = []
    monkeypatch.setattr("realtime.broadcast.run_in_sockets_loop", lambda work: published.append(work.close()))
    with pytest.raises(LookupError), transaction.atomic():
        append("news", note("a"))
        append_many([("news", note("b"))])
        raise LookupError
    assert (stored(), published) == ([], [])
    with transaction.atomic():
        append("news", note("c"))
        assert published == []
    assert (stored(), len(published)) == ([note("c", 1)], 1)


def test_many_events_are_stored_together(django_assert_max_num_queries):
    """Events of many feeds are numbered in their order. The queries do not grow with the events."""
    events = [(f"feed {number % 500}", note(number)) for number in range(2000)]
    rows = connection.ops.bulk_batch_size(["feed", "seq", "key", "body", "at"], events)
    with django_assert_max_num_queries(3 + -(-len(events) // rows)):  # a transaction, the numbers, and inserts
        appended = append_many(events)
    assert appended == [note(number, number // 500 + 1) for number in range(2000)]
    assert stored("feed 7") == [note(number, number // 500 + 1) for number in (1507, 1007, 507, 7)]


def test_numbers_for_rows_of_other_models():
    """Numbers are reserved until the commit, and are free again without it."""
    with transaction.atomic():
        assert take_numbers({"b": 2, "a": 1}) == {"a": 0, "b": 0}
        assert take_numbers({"b": 1}) == {"b": 2}
    with pytest.raises(LookupError), transaction.atomic():
        take_numbers({"b": 5})
        raise LookupError
    assert FeedHistory.latest(["a", "b"]) == {"a": 1, "b": 3}


def test_texts_that_databases_refuse_are_kept():
    """NUL is kept, and half of a surrogate pair becomes a question mark."""
    assert append("news", note("a\0\ud800"))[0] == note("a\0?", 1)
    assert stored() == [note("a\0?", 1)]


def test_old_events_expire(settings, capsys):
    """`cleanup` deletes what is older than REALTIME_FEED_DAYS. Numbers continue."""
    append("news", note("a"))
    FeedEvent.objects.update(at=timezone.now() - timedelta(days=366))
    append("news", note("b"))
    settings.REALTIME_FEED_DAYS = 0
    call_command("cleanup")
    assert len(stored()) == 2
    settings.REALTIME_FEED_DAYS = 365
    call_command("cleanup")
    assert stored() == [note("b", 2)]
    assert "Deleted 1 feed events." in capsys.readouterr().out
    assert append("news", note("c"))[0] == note("c", 3)


def test_rows_have_names():
    """The admin shows the name of a feed, and the number and text of an event."""
    append("news", note("a"))
    assert [str(row) for row in (*Feed.objects.all(), *FeedEvent.objects.all())] == [
        "news",
        '1: {"type":"note","text":"a"}',
    ]


async def test_member_follows_a_feed(visit):
    """A welcome comes first, then the latest events, then live ones from sync and from async code."""
    for text in "abc":
        await aappend("news", note(text))
    ann = await visit(PATH)
    welcome = await ann.receive()
    assert (welcome["type"], welcome["seq"], welcome["feed"], welcome["user"]) == ("welcome", 3, "news", "ann")
    assert [await ann.receive() for _ in range(2)] == [note("b", 2), note("c", 3)]
    await aappend("news", note("d"))
    await sync_to_async(append)("news", note("e"))
    await sync_to_async(append_many)([("news", note("f")), ("news", note("g")), ("other", note("h"))])
    assert [await ann.receive() for _ in range(4)] == [note("d", 4), note("e", 5), note("f", 6), note("g", 7)]
    assert await ann.receives_nothing()


@pytest.mark.parametrize(("after", "missed"), [(0, "abc"), (2, "c"), (3, "")])
async def test_member_resumes_a_feed(after, missed, visit):
    """A client that names a number receives all events after it."""
    for text in "abc":
        await aappend("news", note(text))
    ann = await visit(f"{PATH}?after={after}")
    await ann.receive_until("welcome")
    assert [(await ann.receive())["text"] for _ in missed] == list(missed)
    assert await ann.receives_nothing()


async def test_invalid_place_is_refused(visit):
    """The client gets an error, and the latest events."""
    await aappend("news", note("a"))
    ann = await visit(f"{PATH}?after=x")
    *_, error = await ann.receive_until("error")
    assert (error["code"], await ann.receive()) == ("bad_message", note("a", 1))


async def test_event_of_a_client_reaches_all(visit):
    """Each member, the sender too, receives an event with its number."""
    ann, bob = await visit(PATH), await visit(PATH, "bob")
    for member in (ann, bob):
        await member.receive_until("welcome")
    await ann.send(**note("a"))
    assert [await member.receive() for member in (ann, bob)] == [note("a", 1)] * 2
