"""Figures of devices."""

from datetime import timedelta

from django.db.models import Avg, Count
from django.utils import timezone
from django.utils.translation import gettext_noop

from devices.models import Device, Reading
from realtime.figures.registry import source

SECONDS = 5  # of readings that are counted


@source
def devices() -> dict[str, float | None]:
    """Return how many devices are online, and what they measured in the last seconds."""
    start = timezone.now() - timedelta(seconds=SECONDS)
    recent = Reading.objects.filter(stored_at__gte=start)
    found = recent.aggregate(count=Count("pk"), mean=Avg("value"))
    mean = found["mean"]
    return {
        gettext_noop("Devices online"): Device.objects.filter(is_online=True).count(),
        gettext_noop("Readings per second"): round(found["count"] / SECONDS, 1),
        gettext_noop("Mean value"): None if mean is None else round(mean, 2),
    }
