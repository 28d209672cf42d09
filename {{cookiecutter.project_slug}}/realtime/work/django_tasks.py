"""Django's tasks, or their backport on Django 5.2: the package `django-tasks`."""

from typing import TYPE_CHECKING, Any

from django import VERSION

if TYPE_CHECKING or VERSION >= (6, 0):
    from django.tasks import Task, TaskResult, TaskResultStatus, task
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import TaskError
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
else:
    from django_tasks import TaskResult, TaskResultStatus, task
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import Task, TaskError
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started

# Generic for type checkers only.
type AnyTask = Task[..., Any]
type AnyResult = TaskResult[Any, Any]

__all__ = [
    "AnyResult",
    "AnyTask",
    "BaseTaskBackend",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "task",
    "task_enqueued",
    "task_finished",
    "task_started",
]
