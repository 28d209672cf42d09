"""End of the jobs of a deleted user."""

from typing import Any

from django.conf import settings
from django.db.models.signals import post_delete
from django.dispatch import receiver

from realtime.identity import user_id
from realtime.work.models import OPEN, Job
from realtime.work.queue import cancel


@receiver(post_delete, sender=settings.AUTH_USER_MODEL)
def cancel_jobs(instance: Any, **_: Any) -> None:
    """Cancel the jobs of a deleted user that wait or run."""
    for job in Job.objects.filter(user_id=user_id(instance), state__in=OPEN):
        cancel(job)
