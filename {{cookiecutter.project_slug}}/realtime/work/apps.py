"""Application of jobs: their table."""

from django.apps import AppConfig, apps


class WorkConfig(AppConfig):
    name = "realtime.work"
    label = "realtime_work"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if apps.is_installed("django.contrib.auth"):
            from realtime.work import signals  # noqa: F401
