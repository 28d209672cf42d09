"""Queries of jobs."""

from django.db.models import QuerySet

from jobs.tasks import feed_of
from realtime.work.models import Job, State


def jobs_of(user_id: str) -> QuerySet[Job]:
    """Return the jobs of a user that this app started, newest first."""
    return Job.objects.filter(user_id=user_id, feed=feed_of(user_id)).order_by("-pk")


def count_waiting() -> int:
    """Return the number of jobs of all users that no worker has taken up."""
    return Job.objects.filter(state=State.WAITING).count()
