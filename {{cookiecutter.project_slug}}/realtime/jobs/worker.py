"""Worker: runs jobs in threads, and renews their leases."""

import logging
import threading
import time
from contextlib import suppress
from typing import Any

from django.db import InterfaceError, OperationalError, close_old_connections
from django.utils.module_loading import import_string

from realtime.jobs import local
from realtime.jobs.backend import JobBackend, result_of
from realtime.jobs.context import JobContext, JobError, Stopped
from realtime.jobs.django_tasks import AnyTask, task_finished, task_started
from realtime.jobs.models import (
    LEASE,
    State,
    change,
    claim,
    ended,
    find_running,
    leased,
    release,
    renew,
)
from realtime.protocol import encode, size_of
from realtime.threads import close_connections, keep_connections

LOOK_SECONDS = 0.25  # between looks at the table; jobs of this process start at once
RETRY_SECONDS = 1  # after an error of the database
RENEWAL_SECONDS = LEASE.total_seconds() / 5
STOP_SECONDS = 5  # a task that ends no sooner is given back, and ends with the process
MAX_RESULT_BYTES = 32 * 1024  # of an event; the job fails above this
FAILED = "Something went wrong."

logger = logging.getLogger(__name__)


class Worker:
    """Runner of jobs, up to a number of them at once."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.runs: set[Run] = set()
        self.renewed_at = 0.0
        self.is_failing = False
        self.stopping = False
        self.woken = threading.Event()

    def stop(self, *_: object) -> None:
        """Let `run()` return soon. A signal handler may call it, so it acquires no lock."""
        self.stopping = True

    def run(self) -> None:
        """Run jobs until `stop()` is called. Then give back those that run."""
        keep_connections()
        local.wakers.add(self.woken)
        while not self.stopping:
            self.woken.clear()
            try:
                self.look()
                close_old_connections()
                self.is_failing = False
            except (InterfaceError, OperationalError) as error:
                if not self.is_failing:
                    logger.warning("The database was not asked for jobs, retrying: %s", error)
                self.is_failing = True
                close_connections()
            self.woken.wait(RETRY_SECONDS if self.is_failing else LOOK_SECONDS)
        local.wakers.discard(self.woken)
        self.give_back()
        close_connections()

    def look(self) -> None:
        """Renew the leases, stop what was cancelled, and start what waits."""
        runs = list(self.runs)
        if runs:
            jobs = [run.context.job for run in runs]
            if time.monotonic() > self.renewed_at + RENEWAL_SECONDS:
                renew(jobs)
                self.renewed_at = time.monotonic()
            running = find_running(jobs)
            for run in runs:
                if run.context.job.pk not in running:
                    run.context.stopped.set()
        for job in claim(self.threads - len(self.runs)):
            run = Run(self, JobContext(job))
            self.runs.add(run)
            run.start()

    def give_back(self) -> None:
        """Stop the tasks, and give back their jobs, also those that do not end in time."""
        runs = list(self.runs)
        for run in runs:
            run.context.stopped.set()
        deadline = time.monotonic() + STOP_SECONDS
        for run in runs:
            run.join(max(0, deadline - time.monotonic()))
            if run.is_alive():
                release(run.context.job)


class Run(threading.Thread):
    """Thread that runs one job."""

    def __init__(self, worker: Worker, context: JobContext) -> None:
        super().__init__(name=f"job-{context.job.pk}", daemon=True)
        self.worker = worker
        self.context = context

    def run(self) -> None:
        """Run the job. An error of the database leaves it to its lease."""
        keep_connections()
        job = self.context.job
        try:
            run_job(self.context)
        except (InterfaceError, OperationalError) as error:
            logger.warning("%s is taken up again after its lease: %s", job, error)
        finally:
            close_connections()
            self.worker.runs.discard(self)
            self.worker.woken.set()


def run_job(context: JobContext) -> None:
    """Run a job, and store how it ended. Give it back if it was stopped."""
    job = context.job
    try:
        changes = call_task(context)
    except Stopped:
        return release(job)
    own = leased([job]).filter(state=State.RUNNING)
    if ended_job := change(own, job.pk, **changes):
        with suppress(ImportError):  # the task is not there any more
            task_finished.send(JobBackend, task_result=result_of(ended_job))
    else:
        release(job)


def call_task(context: JobContext) -> dict[str, Any]:
    """Call the task of a job. Return the fields of the job at its end."""
    job = context.job
    try:
        task: AnyTask = import_string(job.kind)
        task_started.send(JobBackend, task_result=result_of(job))
        arguments = [context] if task.takes_context else []
        result = task.call(*arguments, **job.arguments)
        if size_of(encode({"result": result})) > MAX_RESULT_BYTES:
            raise JobError(f"The result has more than {MAX_RESULT_BYTES} bytes.")
        return ended(State.DONE, result=result, progress=1)
    except (InterfaceError, OperationalError):
        raise
    except JobError as error:
        return ended(State.FAILED, reason=str(error)[:500])
    except Exception:
        logger.exception("%s failed", job)
        return ended(State.FAILED, reason=FAILED)
