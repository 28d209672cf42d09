"""Figures of jobs."""

from realtime.figures.registry import source
from realtime.work.models import Job, State


@source
def jobs() -> dict[str, float]:
    """Return the numbers of jobs of all users."""
    return {
        "Waiting jobs": Job.objects.filter(state=State.WAITING).count(),
        "Running jobs": Job.objects.filter(state=State.RUNNING).count(),
    }
