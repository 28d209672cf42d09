"""Reading of a slow iterator, such as the answer of a model, by a task that can be stopped."""

import threading
from collections.abc import Generator, Iterator
from queue import SimpleQueue

from django.db import connections

from realtime.work.context import JobContext

READERS = 64  # in a process; above this, the next one waits for the end of another
slots = threading.BoundedSemaphore(READERS)


def collect[Item](
    context: JobContext, items: Iterator[Item], seconds: float
) -> Generator[list[Item], None, None]:
    """Yield lists of what an iterator gives within each interval.

    Another thread waits for the iterator, so that Stopped is raised at once when the run is to end.
    The iterator is not read any further then. Its thread lasts until the next item, so at most
    READERS are read at once.
    """
    while not slots.acquire(blocking=False):
        context.sleep(seconds)
    reader = Reader(items)
    reader.start()
    try:
        is_reading = True
        while is_reading:
            context.sleep(seconds)
            is_reading = reader.is_alive()  # before the queue is emptied
            if arrived := reader.take():
                yield arrived
        if reader.error:
            raise reader.error
    finally:
        reader.closed.set()


class Reader[Item](threading.Thread):
    """Thread that reads an iterator until it ends, fails, or is to be left."""

    def __init__(self, items: Iterator[Item]) -> None:
        super().__init__(name="reader", daemon=True)
        self.items = items
        self.arrived: SimpleQueue[Item] = SimpleQueue()
        self.closed = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for item in self.items:
                if self.closed.is_set():
                    break
                self.arrived.put(item)
        except Exception as error:
            self.error = error
        finally:
            del self.items  # a generator ends its request
            connections.close_all()  # of this thread
            slots.release()

    def take(self) -> list[Item]:
        """Return what has arrived since the last call."""
        return [self.arrived.get() for _ in range(self.arrived.qsize())]
