"""Start, cancellation and retry of jobs, from any Django code."""

from collections.abc import Mapping
from datetime import timedelta
from inspect import Parameter, signature
from typing import Any

from channels.db import database_sync_to_async
from django.db import connection, transaction
from django.db.models import F, Sum
from django.utils import timezone
from django.utils.translation import get_language, gettext

from realtime.conf import settings
from realtime.feeds.models import take_numbers
from realtime.protocol import EventError
from realtime.threads import refuse_in_event_loop
from realtime.work import local
from realtime.work.django_tasks import AnyTask
from realtime.work.models import OPEN, Job, State, change

DAY = timedelta(days=1)


def start(
    task: AnyTask,
    arguments: Mapping[str, Any] | None = None,
    *,
    user_id: str = "",
    user_name: str = "",
    feed: str = "",
    once: bool = False,
    key: str = "",
) -> tuple[Job, bool]:
    """Store a job, which a worker takes up once the transaction is committed.

    Return it and True. Return the stored one and False if the user started a job of this task and
    `key` before, or, with `once`, if one is waiting or running. Raise EventError if the user has
    too many. The feed gets events about state, progress and steps. The task runs in the language
    that is active now.
    """
    refuse_in_event_loop("start()", "await astart()")
    job = Job(
        kind=task.module_path,
        arguments=bind(task, **(arguments or {})),
        user_id=user_id,
        user_name=user_name,
        feed=feed,
        language=get_language() or "",
        once=once,
        key=key,
    )
    with transaction.atomic():
        lock(job)
        if stored := find_stored(job):
            return stored, False
        limit(user_id)
        job.save(force_insert=True)
        job.publish()
    transaction.on_commit(local.wake)
    return job, True


astart = database_sync_to_async(start)


def bind(task: AnyTask, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments of a call by their names. Raise TypeError if they do not fit."""
    context = [None] if task.takes_context else []
    call = signature(task.func)
    bound = call.bind(*context, *args, **kwargs).arguments
    named = dict(list(bound.items())[len(context) :])
    for name in list(named):
        kind = call.parameters[name].kind
        if kind is Parameter.VAR_KEYWORD:
            named |= named.pop(name)
        elif kind in (Parameter.VAR_POSITIONAL, Parameter.POSITIONAL_ONLY):
            raise TypeError(f"{task.name}() takes {name} by position, and a job only by name.")
    return named


def cancel(job: Job) -> bool:
    """Cancel a job that has not ended, and return whether it had not.

    If it runs, its task is stopped within a second, or at its next step.
    """
    fields = {"state": State.CANCELLED, "ended_at": timezone.now()}
    return change(Job.objects.filter(state__in=OPEN), job.pk, **fields) is not None


def retry(job: Job) -> bool:
    """Let a job that failed or was cancelled go on after its last step.

    Return whether it could. Raise EventError if the user has too many, or one that runs `once`, or
    if the job was retried REALTIME_JOB_RETRIES times.
    """
    ended = Job.objects.filter(state__in=(State.FAILED, State.CANCELLED))
    fields = {"state": State.WAITING, "reason": "", "ended_at": None, "attempts": 0}
    most = settings.REALTIME_JOB_RETRIES
    with transaction.atomic():
        lock(job)
        if not (stored := ended.filter(pk=job.pk).first()):
            return False
        if stored.retries >= most:
            detail = gettext("A job is started again %(most)s times at most.") % {"most": most}
            raise EventError("rate_limited", detail)
        if job.once and find_open(job):
            raise EventError("rate_limited", gettext("Such a job is waiting or running."))
        limit(job.user_id)
        changed = change(ended, job.pk, retries=F("retries") + 1, **fields)
    transaction.on_commit(local.wake)
    return changed is not None


def find_stored(job: Job) -> Job | None:
    """Return the job that stands in for a new one, if there is one."""
    if job.key:
        own = Job.objects.filter(user_id=job.user_id, kind=job.kind, key=job.key)
        if stored := own.first():
            return stored
    return find_open(job) if job.once else None


def find_open(job: Job) -> Job | None:
    """Return the user's job of this kind that is waiting or running, of those that are `once`."""
    own = Job.objects.filter(user_id=job.user_id, kind=job.kind, once=True, state__in=OPEN)
    return own.first()


def limit(user_id: str) -> None:
    """Raise EventError if the user has REALTIME_JOBS_OPEN or REALTIME_JOBS_PER_DAY jobs.

    Visitors can become many guests, so all users together have REALTIME_JOBS_WAITING.
    """
    if not user_id:
        return
    most = settings.REALTIME_JOBS_WAITING
    if Job.objects.filter(state=State.WAITING)[:most].count() >= most:
        raise EventError("rate_limited", gettext("Too many jobs are waiting. Try again later."))
    own = Job.objects.filter(user_id=user_id)
    most = settings.REALTIME_JOBS_OPEN
    if own.filter(state__in=OPEN).count() >= most:
        detail = gettext("At most %(most)s jobs wait or run. Try again later.") % {"most": most}
        raise EventError("rate_limited", detail)
    most = settings.REALTIME_JOBS_PER_DAY
    today = own.filter(created_at__gt=timezone.now() - DAY)
    if (today.aggregate(runs=Sum(F("retries") + 1))["runs"] or 0) >= most:
        detail = gettext("You may start %(most)s jobs a day. Try again later.") % {"most": most}
        raise EventError("rate_limited", detail)


def lock(job: Job) -> None:
    """Run one transaction of the user at a time, or each would miss the others' jobs.

    The feed is first, because a task that starts a job after a step has locked its feed already.
    SQLite has one writer at a time anyway.
    """
    if connection.vendor != "postgresql":
        return
    if job.feed:
        take_numbers({job.feed: 0})
    if job.user_id or job.key or job.once:
        with connection.cursor() as cursor:
            key = f"realtime_work {job.user_id}"
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
