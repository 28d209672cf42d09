"""Backend of Django's tasks whose queue is the table of jobs."""

from typing import Any

from django.utils.module_loading import import_string

from realtime.work.django_tasks import (
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)

STATUS = {
    "waiting": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "done": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
}


class JobBackend(BaseTaskBackend):
    """Backend for TASKS. A task that is enqueued, rather than started, is a job without a user.

    The models are imported late, because apps declare tasks while they are loaded.
    """

    supports_async_task = True
    supports_get_result = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> AnyResult:
        from realtime.work.queue import bind, start

        self.validate_task(task)
        job, _ = start(task, bind(task, *args, **kwargs))
        result = result_of(job)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> AnyResult:
        from realtime.work.models import Job

        try:
            return result_of(Job.objects.get(pk=result_id))
        except (Job.DoesNotExist, ValueError) as error:
            raise TaskResultDoesNotExist(result_id) from error


def result_of(job: Any) -> AnyResult:
    """Return a job as Django's tasks know it."""
    task: AnyTask = import_string(job.kind)
    error = TaskError(exception_class_path="realtime.work.context.JobError", traceback=job.reason)
    result: AnyResult = TaskResult(
        task=task,
        id=str(job.pk),
        status=STATUS[job.state],
        enqueued_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.ended_at,
        last_attempted_at=job.started_at,
        args=[],
        kwargs=job.arguments,
        backend=task.backend,
        errors=[error] if STATUS[job.state] == TaskResultStatus.FAILED else [],
        worker_ids=[job.lease] * job.attempts,
    )
    object.__setattr__(result, "_return_value", job.result)  # frozen
    return result
