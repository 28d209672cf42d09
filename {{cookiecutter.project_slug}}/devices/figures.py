"""Figures of devices."""

from datetime import timedelta

from django.db.models import Avg, Count
from django.utils import timezone
from django.utils.translation import gettext_noop

from devices.models import Device, Reading
from realtime.figures.registry import source

SECONDS = 5  # of readings that are counted


@source
def devices() -> dict[str, float]:
    """Return how many devices are online, and what they measured in the last seconds."""
    start = timezone.now() - timedelta(seconds=SECONDS)
    recent = Reading.objects.filter(stored_at__gte=start)
    found = recent.aggregate(count=Count("pk"), mean=Avg("value"))
    figures: dict[str, float] = {
        gettext_noop("Devices online"): Device.objects.filter(is_online=True).count(),
        gettext_noop("Readings per second"): round(found["count"] / SECONDS, 1),
    }
    if found["mean"] is not None:
        figures[gettext_noop("Mean value")] = round(found["mean"], 2)
    return figures
