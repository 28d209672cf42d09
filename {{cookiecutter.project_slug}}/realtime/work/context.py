"""Context of a running job: the first argument of a task, which stores its steps."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Concatenate

from django.db import transaction
from django.utils.translation import gettext

from realtime.conf import settings
from realtime.feeds.events import append
from realtime.work.django_tasks import AnyResult, AnyTask, task
from realtime.work.models import Job, State, lease_end, leased


class Stopped(BaseException):
    """End of a run: the job was cancelled, or another worker is to go on with it.

    Not an Exception, so that a task that catches all of these still ends.
    """


class JobError(Exception):
    """Failure whose text the user is shown as the reason."""


class JobContext:
    """First argument of a task: stores its steps, and raises Stopped when it is to end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stopped = threading.Event()

    @property
    def steps(self) -> int:
        """Number of the stored steps. Greater than 0 at the start if a worker was lost."""
        return self.job.steps

    @property
    def resume(self) -> Any:
        """Return what the last step stored in order to resume, {} before."""
        return self.job.resume

    @property
    def attempt(self) -> int:
        """Number of this run since the last step, from 1 on, as in Django's TaskContext."""
        return self.job.attempts

    @property
    def task_result(self) -> AnyResult:
        """Result of the task as in Django's TaskContext."""
        from realtime.work.backend import result_of

        return result_of(self.job)

    def step(self, text: str, *, progress: float | None = None, resume: Any = None) -> None:
        """Store a step that the user sees. Raise Stopped if the run is to end."""
        self.append({"type": "step", "text": text}, progress=progress, resume=resume)

    def append(
        self, event: Mapping[str, Any], *, progress: float | None = None, resume: Any = None
    ) -> None:
        """Store a step with an event of its own for the feed.

        The event also gets `job`, `step`, and `progress` if there is one. The step, its event,
        `progress` and `resume` are stored together, or not at all.
        """
        step = self.job.steps + 1
        if step > settings.REALTIME_JOB_STEPS:
            text = gettext("The job has more than %(count)s steps.")
            raise JobError(text % {"count": settings.REALTIME_JOB_STEPS})
        changes: dict[str, Any] = {"steps": step, "attempts": 0}
        event = {**event, "job": self.job.pk, "step": step}
        if progress is not None:
            changes["progress"] = event["progress"] = progress
        if resume is not None:
            changes["resume"] = resume
        self.store(changes, event)

    def progress(self, fraction: float) -> None:
        """Store how far the job is, from 0 to 1. Less than one more percent changes nothing."""
        self.check()
        if int(fraction * 100) > int(self.job.progress * 100):
            event = {"type": "progress", "job": self.job.pk, "progress": fraction}
            self.store({"progress": fraction}, event)

    def check(self) -> None:
        """Raise Stopped if the run is to end. Queries nothing, so call it often."""
        if self.stopped.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait. Raise Stopped as soon as the run is to end."""
        self.stopped.wait(seconds)
        self.check()

    def store(self, changes: dict[str, Any], event: dict[str, Any]) -> None:
        """Change the row and append an event, if the job still runs under this lease."""
        self.check()
        with transaction.atomic():
            own = leased([self.job]).filter(state=State.RUNNING)
            if not own.update(**changes, locked_until=lease_end()):
                raise Stopped
            if self.job.feed:
                append(self.job.feed, event)
        for name, value in changes.items():
            setattr(self.job, name, value)


def job(function: Callable[Concatenate[JobContext, ...], Any]) -> AnyTask:
    """Make a task of a function of a module, whose first argument is named `context`.

    After the loss of a worker the function is called again. It goes on after `context.steps`.
    """
    return task(takes_context=True)(function)  # type: ignore[arg-type]
