"""Worker: runs jobs in threads, and renews their leases."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import Error, InterfaceError, OperationalError, close_old_connections, connection
from django.db.models.functions import Now
from django.urls import set_script_prefix
from django.utils.module_loading import import_string
from django.utils.translation import gettext, gettext_lazy, override

from realtime.conf import settings
from realtime.protocol import encode, size_of
from realtime.threads import close_connections, keep_connections
from realtime.work.backend import JobBackend, result_of
from realtime.work.context import JobContext, JobError, Stopped
from realtime.work.django_tasks import AnyTask, task_finished, task_started
from realtime.work.local import workers
from realtime.work.models import (
    LOST,
    State,
    change,
    claim,
    ended,
    find_running,
    leased,
    release,
    renew,
)

LOOK_SECONDS = 0.25  # between looks at the table; jobs of this process start at once
RETRY_SECONDS = 1  # after an error of the database
STOP_SECONDS = 5  # a task that ends no sooner is given back, and ends with the process
MAX_RESULT_BYTES = 32 * 1024  # of an event; the job fails above this
FAILED = gettext_lazy("Something went wrong.")
LOCKED = {"40001", "40P01", "55P03", "SQLITE_BUSY"}  # codes of errors that a repetition avoids

logger = logging.getLogger(__name__)


class Worker:
    """Runner of jobs, up to a number of them at once."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.runs: set[Run] = set()
        self.renewed_at = 0.0
        self.stopping = False
        self.woken = threading.Event()
        self.ended = threading.Event()

    def stop(self, *_: object) -> None:
        """Let `run()` return soon. A signal handler may call it, so it acquires no lock."""
        self.stopping = True

    def run(self) -> None:
        """Run jobs until `stop()` is called. Then give back those that run."""
        workers.add(self)
        given_back = threading.Event()
        keep = (self.keep_leases, given_back, given_back.is_set)
        leases = threading.Thread(target=repeat, args=keep, name="leases", daemon=True)
        leases.start()
        repeat(self.look, self.woken, lambda: self.stopping)
        workers.discard(self)
        self.give_back()
        close_connections()
        given_back.set()
        leases.join()
        self.ended.set()

    def look(self) -> None:
        """Start what waits."""
        self.woken.clear()
        for job in claim(self.threads - len(self.runs)):
            run = Run(self, JobContext(job))
            self.runs.add(run)
            run.start()

    def keep_leases(self) -> None:
        """Renew the leases, and stop the runs that were cancelled or may have lost theirs."""
        runs, now = list(self.runs), time.monotonic()
        if not runs:
            self.renewed_at = now
            return
        jobs = [run.context.job for run in runs]
        running: set[str] = set()
        try:
            if now > self.renewed_at + settings.REALTIME_JOB_LEASE / 5:
                renew(jobs)
                self.renewed_at = now
            running = find_running(jobs)
        except Error:
            if time.monotonic() < self.renewed_at + settings.REALTIME_JOB_LEASE:
                running = {job.lease for job in jobs}
            raise
        finally:
            for run in runs:
                if run.context.job.lease not in running:
                    run.context.stopped.set()

    def give_back(self) -> None:
        """Stop the tasks, and give back their jobs, also those that do not end in time."""
        runs = list(self.runs)
        for run in runs:
            run.context.stopped.set()
        deadline = time.monotonic() + STOP_SECONDS
        for run in runs:
            run.join(max(0, deadline - time.monotonic()))
            if run.is_alive():
                with suppress(Error):  # its lease ends by itself
                    release(run.context.job)


def repeat(query: Callable[[], None], woken: threading.Event, is_over: Callable[[], bool]) -> None:
    """Call a function that queries the database, again and again, until it is over."""
    keep_connections()
    is_failing = False
    while not is_over():
        try:
            query()
            close_old_connections()
            is_failing = False
        except Error as error:  # the table may be missing, too
            if not is_failing:
                logger.warning("The database was not asked for jobs, retrying: %s", error)
            is_failing = True
            close_connections()
        woken.wait(RETRY_SECONDS if is_failing else LOOK_SECONDS)
    close_connections()


class Run(threading.Thread):
    """Thread that runs one job."""

    def __init__(self, worker: Worker, context: JobContext) -> None:
        super().__init__(name=f"job-{context.job.pk}", daemon=True)
        self.worker = worker
        self.context = context

    def run(self) -> None:
        """Run the job. Leave it to its lease after an error of the database, or if it is unknown.

        A newer version may know it, whose workers run already.
        """
        keep_connections()
        set_script_prefix(settings.FORCE_SCRIPT_NAME or "/")  # of paths that the job reverses
        job = self.context.job
        try:
            run_job(self.context)
        except (ImportError, InterfaceError, OperationalError) as error:
            logger.warning("%s is taken up again after its lease: %s", job, error)
        finally:
            close_connections()
            self.worker.runs.discard(self)
            self.worker.woken.set()


def start_worker() -> None:
    """Run jobs in a thread of this process."""
    worker = Worker(settings.REALTIME_JOB_THREADS)
    threading.Thread(target=worker.run, name="jobs", daemon=True).start()


def stop_workers() -> None:
    """Give back the jobs of this process, and return when its workers have ended."""
    for worker in list(workers):
        worker.stop()
        worker.woken.set()
        worker.ended.wait(2 * STOP_SECONDS)


def run_job(context: JobContext) -> None:
    """Run a job in its language, and store how it ended. Give it back if it was stopped.

    A job that was lost REALTIME_JOB_ATTEMPTS times in a row, without a step in between, fails.
    """
    job = context.job
    with override(job.language or settings.LANGUAGE_CODE):
        own = leased([job]).filter(state=State.RUNNING)
        if job.attempts > settings.REALTIME_JOB_ATTEMPTS:
            changes = ended(State.FAILED, reason=str(LOST))
        elif started := change(own, job.pk, started_at=Now()):
            context.job = started
            task = import_string(job.kind)
            try:
                changes = call_task(context, task)
            except Stopped:
                return release(job)
        else:
            return release(job)
        try:
            ended_job = change(own, job.pk, **changes)
        except (InterfaceError, OperationalError):
            raise
        except Exception:  # such as NUL or NaN, which a database refuses
            logger.exception("The end of %s cannot be stored", job)
            ended_job = change(own, job.pk, **ended(State.FAILED, reason=str(FAILED)))
        if ended_job:
            with suppress(ImportError):  # the task is not there any more
                task_finished.send(JobBackend, task_result=result_of(ended_job))
        else:
            release(job)


def call_task(context: JobContext, task: AnyTask) -> dict[str, Any]:
    """Call the task of a job. Return the fields of the job at its end."""
    job = context.job
    try:
        task_started.send(JobBackend, task_result=result_of(job))
        arguments = [context] if task.takes_context else []
        result = task.call(*arguments, **job.arguments)
        if size_of(encode({"result": result})) > MAX_RESULT_BYTES:
            text = gettext("The result has more than %(count)s bytes.")
            raise JobError(text % {"count": MAX_RESULT_BYTES})
        return ended(State.DONE, result=result, progress=1)
    except JobError as error:
        return ended(State.FAILED, reason=str(error)[:500])
    except Exception as error:
        if is_transient(error):
            raise
        logger.exception("%s failed", job)
        return ended(State.FAILED, reason=str(FAILED))


def is_transient(error: Exception) -> bool:
    """Return whether the database was lost or locked. A wrong or slow query would fail again."""
    if not isinstance(error, (InterfaceError, OperationalError)):
        return False
    cause = error.__cause__
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    return code in LOCKED or not connection.is_usable()
