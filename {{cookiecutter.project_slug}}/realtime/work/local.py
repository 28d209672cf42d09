"""Workers of this process, if it has some: the development server runs one."""

import threading
from typing import Protocol


class Stoppable(Protocol):
    """Worker in a thread of this process."""

    woken: threading.Event
    ended: threading.Event

    def stop(self) -> None: ...


workers: set[Stoppable] = set()


def wake() -> None:
    """Let the workers of this process look for jobs at once."""
    for worker in list(workers):
        worker.woken.set()
