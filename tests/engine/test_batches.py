"""Functions that take one item, made from functions that take many."""

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError, connections, transaction

from engine.models import Journal
from realtime import batches
from realtime.batches import in_batches

pytestmark = pytest.mark.django_db(transaction=True)


class Store:
    """Function that takes many items. Each call of it may be held back, and is noted."""

    def __init__(self, results=None):
        self.batches = []
        self.results = results or (lambda items: [f"{item}!" for item in items])
        self.running = threading.Event()
        self.released = threading.Event()
        self.released.set()
        self.one, self.aone = in_batches(self.many)

    def close(self):
        """Close the connection of the thread."""
        held = self.one.__self__
        if held.thread is not None:
            held.function = lambda items: connections.close_all() or items
            held.put("last", done := Future())
            done.result()

    def many(self, items):
        self.batches.append(list(items))
        self.running.set()
        assert self.released.wait(5)
        return self.results(items)

    def hold(self):
        self.released.clear()
        self.running.clear()


class Callers:
    """Concurrent callers in one of the two styles, who call in the order of their items."""

    def __init__(self, style, store):
        self.style = style
        self.store = store
        self.threads = ThreadPoolExecutor(200)

    def close(self):
        self.threads.shutdown()

    def call(self, item):
        """Start a call. Return its future."""
        if self.style == "async":
            return asyncio.ensure_future(self.store.aone(item))
        return asyncio.wrap_future(self.threads.submit(self.work, item))

    def work(self, item):
        try:
            return self.store.one(item)
        finally:
            connections.close_all()

    async def wait(self, count):
        """Wait until this number of callers wait for their results."""
        queue = self.store.one.__self__.queue
        async with asyncio.timeout(5):
            while queue.qsize() < count:
                await asyncio.sleep(0.001)

    async def call_meanwhile(self, first, *items):
        """Call with all items while the first one is being stored. Return the results."""
        self.store.hold()
        calls = [self.call(first)]
        assert await asyncio.to_thread(self.store.running.wait, 5)
        for number, item in enumerate(items, 1):
            calls.append(self.call(item))
            await self.wait(number)
        self.store.released.set()
        async with asyncio.timeout(5):
            return await asyncio.gather(*calls, return_exceptions=True)


@pytest.fixture
def create():
    """Return a function that creates a function of many items, which may be a given one. All are closed at the end."""
    with ExitStack() as stack:
        yield lambda results=None: stack.enter_context(closing(Store(results)))


@pytest.fixture(params=["async", "sync"])
def callers(request, create):
    """Return a function that creates callers of a function of many items."""
    with ExitStack() as stack:
        yield lambda results=None: stack.enter_context(closing(Callers(request.param, create(results))))


async def test_item_alone_waits_for_nothing(callers):
    """Each call that meets no other is a batch of one."""
    one = callers()
    assert [await one.call("a"), await one.call("b")] == ["a!", "b!"]
    assert one.store.batches == [["a"], ["b"]]


async def test_items_of_meanwhile_are_the_next_batch(callers):
    """Items that arrive while a batch is stored are stored together, in the order of the calls."""
    one = callers()
    assert await one.call_meanwhile("a", "b", "c", "d") == ["a!", "b!", "c!", "d!"]
    assert one.store.batches == [["a"], ["b", "c", "d"]]
    assert await one.call("e") == "e!"


async def test_result_does_not_wait_for_the_next_batch(callers):
    """Callers get their results while a batch of others, who called again at once, is under way."""
    over = threading.Event()
    one = callers(lambda items: items if "next" not in items or over.wait(5) else None)
    one.store.hold()
    calls = [one.call("a")]
    assert await asyncio.to_thread(one.store.running.wait, 5)
    calls += [one.call(number) for number in range(40)]
    calls[1].add_done_callback(lambda _: [calls.append(one.call("next")) for _ in range(10)])
    await one.wait(40)
    one.store.released.set()
    async with asyncio.timeout(4):
        await asyncio.gather(*calls[:41])
    over.set()
    await asyncio.gather(*calls[41:])


async def test_batch_is_bounded(callers):
    """Items above the limit are the batch after the next."""
    one = callers()
    items = list(range(batches.MOST + 20))
    assert await one.call_meanwhile("a", *items) == ["a!", *(f"{item}!" for item in items)]
    assert one.store.batches == [["a"], items[:-20], items[-20:]]


async def test_refused_item_refuses_no_other(callers):
    """A result that is an exception is raised for its caller only."""
    one = callers(lambda items: [ValueError(item) if item == "c" else item for item in items])
    first, second, third, fourth = await one.call_meanwhile("a", "b", "c", "d")
    assert (first, second, fourth) == ("a", "b", "d")
    assert isinstance(third, ValueError)


async def test_bad_item_fails_alone(callers):
    """A batch that fails is halved until only the bad item fails."""

    def results(items):
        if "bad" in items:
            raise LookupError
        return items

    one = callers(results)
    *good, bad = await one.call_meanwhile("a", "b", "c", "d", "bad")
    assert good == ["a", "b", "c", "d"]
    assert isinstance(bad, LookupError)
    assert one.store.batches == [["a"], ["b", "c", "d", "bad"], ["b", "c"], ["d", "bad"], ["d"], ["bad"]]


@pytest.mark.parametrize("results", [[], None], ids=["too few", "none"])
async def test_missing_result_is_an_error(results, callers):
    """A function without a result for each item leaves no caller waiting. It is not called again: it has stored."""
    one = callers(lambda items: results)
    found = await one.call_meanwhile("a", "b", "c")
    assert [str(error) for error in found] == [f"Not a list of {n} results: {results}" for n in (1, 2, 2)]
    assert one.store.batches == [["a"], ["b", "c"]]


async def test_interrupted_batch_leaves_no_caller_waiting(callers):
    """After an exception that ends threads, each caller gets an error, and the next item is stored."""

    def results(items):
        if "end" in items:
            raise SystemExit
        return items

    one = callers(results)
    first, *others = await one.call_meanwhile("a", "b", "end")
    assert first == "a"
    assert {type(error) for error in others} <= {RuntimeError, SystemExit}
    assert await one.call("c") == "c"


async def test_thread_that_cannot_start_leaves_no_caller_waiting(create, monkeypatch):
    """The caller gets the error, and the next one starts the thread."""
    store = create()
    monkeypatch.setattr(threading.Thread, "start", lambda thread: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await store.aone("a")
    monkeypatch.undo()
    assert await store.aone("b") == "b!"


def test_caller_without_autocommit_stores_its_own_item(create):
    """A caller who commits by itself takes no items of others into its transaction."""
    store = create()
    transaction.set_autocommit(False)
    try:
        store.one.__self__.queue.put(("of another", Future()))
        assert store.one("a") == "a!"
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert store.batches == [["a"]]


async def test_stop_iteration_is_an_error(callers):
    """An exception that futures do not accept leaves no caller waiting."""
    one = callers(lambda items: [next(iter(()))])
    found = await one.call_meanwhile("a", "b", "c")
    assert [type(error) for error in found] == [RuntimeError] * 3


async def test_slow_failure_is_not_repeated(callers, monkeypatch):
    """A database that lets a batch wait for too long is not asked again for each item."""
    monkeypatch.setattr(batches, "PATIENCE", 0)

    def results(items):
        if len(items) > 1:
            raise OperationalError("locked")
        return items

    one = callers(results)
    first, *others = await one.call_meanwhile("a", "b", "c")
    assert first == "a"
    assert [str(error) for error in others] == ["locked"] * 2


async def test_quick_failure_of_the_database_is_of_one_item(callers):
    """If the database still answers, an item that it refuses fails alone."""

    def results(items):
        Journal.objects.count()
        if "bad" in items:
            raise OperationalError("too large")
        return items

    one = callers(results)
    *good, bad = await one.call_meanwhile("a", "b", "bad")
    assert good == ["a", "b"]
    assert str(bad) == "too large"


async def test_cancelled_callers_break_nothing(create):
    """Callers that are gone, in the batch and behind it, take no result from the others."""
    one = Callers("async", create())
    one.store.hold()
    calls = [one.call("a")]
    await asyncio.to_thread(one.store.running.wait, 5)
    calls += [one.call(item) for item in "bcd"]
    await one.wait(3)
    calls[0].cancel()
    calls[2].cancel()
    one.store.released.set()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [found[1], found[3]] == ["b!", "d!"]
    assert [type(found[0]), type(found[2])] == [asyncio.CancelledError] * 2
    assert await one.call("e") == "e!"


@pytest.mark.parametrize("style", ["async", "sync"])
def test_open_transaction_stays_the_callers(style, create):
    """In a transaction of the caller the item is stored in it at once, and rolled back with it."""
    store = create(lambda names: [Journal.objects.create(name=name) for name in names])
    one = async_to_sync(store.aone) if style == "async" else store.one
    with pytest.raises(LookupError), transaction.atomic():
        one("a")
        assert Journal.objects.filter(name="a").exists()
        raise LookupError
    assert not Journal.objects.exists()
    assert one("b").name == "b"
    assert Journal.objects.filter(name="b").exists()


def test_exception_in_an_open_transaction_is_raised(create):
    """A refused item is an exception there too."""
    store = create(lambda items: [ValueError(item) for item in items])
    with pytest.raises(ValueError, match="a"), transaction.atomic():
        store.one("a")


async def test_sync_function_is_refused_in_an_event_loop(create):
    """A sync call in an event loop raises RuntimeError, because it would block the loop."""
    with pytest.raises(RuntimeError, match="event loop"):
        create().one("a")


async def test_both_styles_may_be_mixed(create):
    """Sync and async callers of one function get their own results."""
    store = create()
    calls = [
        asyncio.ensure_future(store.aone(item) if item % 2 else sync_to_async(store.one, thread_sensitive=False)(item))
        for item in range(50)
    ]
    assert await asyncio.gather(*calls) == [f"{item}!" for item in range(50)]


def test_forked_process_has_a_queue_of_its_own():
    """Both styles work in a child, though the parent's thread does not, nor the lock that it holds."""
    code = """
import asyncio, os, threading
import django
django.setup()
from realtime.batches import in_batches
inside, released = threading.Event(), threading.Event()
def many(items):
    if "wait" in items:
        inside.set()
        released.wait()
    return items
one, aone = in_batches(many)
asyncio.run(aone("a"))
threading.Thread(target=one, args=("wait",), daemon=True).start()
inside.wait()
child = os.fork()
if child == 0:
    os._exit(0 if [one("b"), asyncio.run(aone("c"))] == ["b", "c"] else 1)
released.set()
assert os.waitpid(child, 0)[1] == 0
"""
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "engine.settings"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environ, check=True, timeout=20)
