"""Application of jobs: their table."""

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class WorkConfig(AppConfig):
    name = "realtime.work"
    label = "realtime_work"
    verbose_name = _("Jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if apps.is_installed("django.contrib.auth"):
            from realtime.work import signals  # noqa: F401
