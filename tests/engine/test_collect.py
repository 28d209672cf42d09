"""Reading of slow iterators by tasks."""

import threading

import pytest

from realtime.work import streams
from realtime.work.context import JobContext, Stopped
from realtime.work.models import Job
from realtime.work.streams import collect

INTERVAL = 0.02


@pytest.fixture
def context():
    return JobContext(Job())


def test_items_that_arrive_together_are_one_list(context):
    """Every item is yielded once, in order, and what is there at once is one list."""
    found = list(collect(context, iter(range(1000)), 0.2))
    assert found == [list(range(1000))]


def test_what_has_arrived_does_not_wait_for_the_next(context):
    """An iterator that is silent holds nothing back."""
    is_read = threading.Event()

    def items():
        yield "first"
        assert is_read.wait(5)
        yield "second"

    collected = collect(context, items(), INTERVAL)
    assert next(collected) == ["first"]
    is_read.set()
    assert list(collected) == [["second"]]


def test_iterator_that_yields_nothing_ends(context):
    assert list(collect(context, iter(()), INTERVAL)) == []


def test_error_follows_what_came_before_it(context):
    """The caller gets the items, and then the exception of the iterator."""

    def items():
        yield "first"
        raise ValueError("the reason")

    collected = collect(context, items(), INTERVAL)
    assert next(collected) == ["first"]
    with pytest.raises(ValueError, match="the reason"):
        next(collected)


def test_run_is_stopped_while_the_iterator_is_silent(context):
    """Stopped is raised at once. Afterwards the iterator is closed at its next item."""
    may_go_on, closed = threading.Event(), threading.Event()

    def items():
        try:
            yield "first"
            may_go_on.wait(5)
            yield "second"
            yield "third"
        finally:
            closed.set()

    collected = collect(context, items(), INTERVAL)
    assert next(collected) == ["first"]
    context.stopped.set()
    with pytest.raises(Stopped):
        next(collected)
    assert not closed.is_set()
    may_go_on.set()
    assert closed.wait(5)


def test_iterator_is_left_by_a_caller_that_ends(context):
    """A caller that closes the generator ends the iterator, too."""
    may_go_on, closed = threading.Event(), threading.Event()

    def items():
        try:
            yield "first"
            may_go_on.wait(5)
            yield "second"
        finally:
            closed.set()

    collected = collect(context, items(), INTERVAL)
    assert next(collected) == ["first"]
    collected.close()
    may_go_on.set()
    assert closed.wait(5)


def test_readers_are_bounded(context, monkeypatch):
    """The next iterator waits for a thread that is left, and ends its wait with the run."""
    monkeypatch.setattr(streams, "slots", threading.BoundedSemaphore(1))
    may_go_on = threading.Event()

    def items():
        yield "first"
        may_go_on.wait(5)
        yield "second"

    collected = collect(context, items(), INTERVAL)
    assert next(collected) == ["first"]
    collected.close()
    stopped = JobContext(Job())
    stopped.stopped.set()
    with pytest.raises(Stopped):
        next(collect(stopped, iter("ab"), INTERVAL))
    threading.Timer(0.2, may_go_on.set).start()
    assert list(collect(context, iter("ab"), INTERVAL)) == [["a", "b"]]
    assert may_go_on.is_set()
