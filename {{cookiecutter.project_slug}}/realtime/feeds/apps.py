"""Application of feeds: their tables."""

from django.apps import AppConfig


class FeedsConfig(AppConfig):
    name = "realtime.feeds"
    label = "realtime_feeds"
    default_auto_field = "django.db.models.BigAutoField"
