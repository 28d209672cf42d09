"""Workers of this process, which need not wait for their next look at the table."""

import threading

wakers: set[threading.Event] = set()


def wake() -> None:
    """Let the workers of this process look for jobs at once."""
    for waker in list(wakers):
        waker.set()
