"""Reports of processes. The table has a row for each."""

from datetime import timedelta

from django.db import models
from django.db.models.functions import Now

FRESH = timedelta(seconds=5)  # an older report is that of a process that has ended


class Report(models.Model):
    """Figures of one process, as it last reported them, at a time of the database's clock."""

    process = models.CharField(max_length=32, unique=True)
    values = models.JSONField(default=dict)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.process


def store(process: str, values: dict[str, float]) -> None:
    """Replace the report of a process."""
    Report.objects.bulk_create(
        [Report(process=process, values=values, at=Now())],
        update_conflicts=True,
        unique_fields=["process"],
        update_fields=["values", "at"],
    )


def fresh_values() -> list[dict[str, float]]:
    """Return the values of the processes that run."""
    return list(Report.objects.filter(at__gt=Now() - FRESH).values_list("values", flat=True))


def delete_old() -> None:
    """Delete the reports of processes that have ended."""
    Report.objects.filter(at__lt=Now() - 10 * FRESH).delete()
