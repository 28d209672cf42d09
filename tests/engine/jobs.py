"""Tasks of the suite."""

import os
import signal
import threading

from django.db import OperationalError, connection, transaction
from django.urls import reverse

from realtime.work.context import JobError, job
from realtime.work.django_tasks import task
from realtime.work.queue import start

calls = []  # arguments of `count`, in the order of the calls
running = threading.Semaphore(0)  # released by each `wait`
go_on = threading.Event()


class KilledError(BaseException):
    """End of a worker that stores nothing more."""


@job
def count(context, to, killed_at=None):
    """Store a step for each number. Die in the first run, before the step of a number."""
    calls.append((context.steps, context.resume))
    is_first = context.steps == 0
    total = context.resume.get("total", 0)
    for number in range(context.steps + 1, to + 1):
        if number == killed_at and is_first:
            raise KilledError
        total += number
        context.step(f"Number {number}", progress=number / to, resume={"total": total})
    return {"total": total}


@job
def locate(context):
    """Return the path of a page."""
    return reverse("healthz")


@job
def die(context):
    """Die before each step."""
    calls.append(context.attempt)
    raise KilledError


class LockedError(Exception):
    """Error of a database driver."""

    sqlstate = "55P03"


@job
def fail(context, error):
    errors = {"job": JobError, "other": ValueError, "database": OperationalError}
    raise errors[error]("the reason") from LockedError()


@job
def query(context, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


@job
def answer(context, result):
    return result


@job
def wait(context):
    """Report the run, and wait for `go_on` or the end of the run."""
    running.release()
    while not go_on.wait(0.01):
        context.check()
    context.step("Went on")
    return context.job.pk


@job
def ignore(context):
    """Wait for `go_on`, and only for it. Then store a step."""
    running.release()
    go_on.wait(5)
    context.step("Went on")


@job
def hold(context):
    """Store a step in a transaction that lasts until `go_on`."""
    with transaction.atomic():
        context.step("Held")
        running.release()
        go_on.wait(15)


@job
def chain(context):
    """Start the next job of the user together with a step."""
    with transaction.atomic():
        context.step("First")
        running.release()
        go_on.wait(0.5)
        start(count, {"to": 1}, user_id=context.job.user_id, feed=context.job.feed)


@job
def advance(context):
    for percent in range(1001):
        context.progress(percent / 1000)


@job
def slow(context, steps, seconds=0.05):
    """Store a step at a time, with the process that stored it."""
    for number in range(context.steps, steps):
        context.sleep(seconds)
        context.append({"type": "piece", "number": number, "pid": os.getpid()})
    return steps


@job
def kill(context):
    """Kill the process that runs it, after a step, the first time."""
    if context.steps == 0:
        context.step("First")
        os.kill(os.getpid(), signal.SIGKILL)
    context.step("Second")


@task
def add(one, other=2):
    return one + other


@task
def collect(first, **others):
    return [first, others]


@task
def add_all(*numbers):
    return sum(numbers)


@task
def negate(number, /):
    return -number


@task(takes_context=True)
def attempt(context):
    return [context.attempt, context.task_result.id]


@task
async def add_later(one, other):
    return one + other
