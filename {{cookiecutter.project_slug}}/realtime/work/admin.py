"""Jobs in the admin. Staff may cancel them, or start them again."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy

from realtime.protocol import EventError
from realtime.work import queue
from realtime.work.models import Job


@admin.register(Job)
class JobAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("id", "name", "user_id", "user_name", "state", "progress", "created_at")
    list_filter = ("state",)
    search_fields = ("=id", "=user_id", "user_name", "kind", "reason")
    ordering = ("-id",)
    show_full_result_count = False
    actions = ("cancel", "retry")

    @admin.display(description=gettext_lazy("name"))
    def name(self, job: Job) -> str:
        return job.name

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Show a job, and offer the actions, to those who may change jobs."""
        return obj is None and super().has_change_permission(request)

    @admin.action(permissions=["change"], description=gettext_lazy("Cancel the chosen jobs"))
    def cancel(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        count = sum(queue.cancel(job) for job in jobs)
        self.message_user(request, gettext("Cancelled: %(count)s.") % {"count": count})

    @admin.action(permissions=["change"], description=gettext_lazy("Retry the chosen jobs"))
    def retry(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        count = 0
        for job in jobs:
            try:
                count += queue.retry(job)
            except EventError as error:
                self.message_user(request, f"{job}: {error}", messages.ERROR)
        self.message_user(request, gettext("Started again: %(count)s.") % {"count": count})
