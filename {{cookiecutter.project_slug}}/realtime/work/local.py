"""Workers of this process, if it has some: the development server runs one."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime.work.worker import Worker

workers: set["Worker"] = set()


def wake() -> None:
    """Let the workers of this process look for jobs at once."""
    for worker in list(workers):
        worker.woken.set()
