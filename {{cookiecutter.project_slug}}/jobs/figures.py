"""Figures of jobs."""

from django.utils.translation import gettext_noop

from realtime.figures.registry import source
from realtime.work.models import Job, State


@source
def jobs() -> dict[str, float]:
    """Return the numbers of jobs of all users."""
    return {
        gettext_noop("Waiting jobs"): Job.objects.filter(state=State.WAITING).count(),
        gettext_noop("Running jobs"): Job.objects.filter(state=State.RUNNING).count(),
    }
