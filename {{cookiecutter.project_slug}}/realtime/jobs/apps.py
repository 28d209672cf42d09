"""Application of jobs: their table."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "realtime.jobs"
    label = "realtime_jobs"
    default_auto_field = "django.db.models.BigAutoField"
