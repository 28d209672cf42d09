"""Notifications in the admin, and an action there that notifies users."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.shortcuts import render
from django.utils.translation import gettext, gettext_lazy

from notifications.forms import NotifyForm
from notifications.models import Notification, withdraw
from notifications.notify import notify_many

User = get_user_model()


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Notifications can be viewed and deleted. Users get new ones by the action on users."""

    list_display = ("user", "text", "url", "created_at", "read_at", "mailed_at")
    list_select_related = ("user",)
    list_filter = ("created_at",)
    search_fields = ("text", f"user__{User.USERNAME_FIELD}")
    fields = readonly_fields = list_display
    ordering = ("-pk",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: Notification) -> None:
        withdraw(Notification.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Notification]) -> None:
        withdraw(queryset)


@admin.action(description=gettext_lazy("Notify selected users"), permissions=["notify"])
def notify_users(model_admin: Any, request: HttpRequest, users: QuerySet[Any]) -> Any:
    """Ask for the text, then notify the selected users."""
    form = NotifyForm(request.POST if "text" in request.POST else None)
    if form.is_valid():
        count = len(notify_many(users, **form.cleaned_data))
        done = gettext("Notified users: %(count)s.") % {"count": count}
        model_admin.message_user(request, done, messages.SUCCESS)
        return None
    context = {
        **model_admin.admin_site.each_context(request),
        "title": gettext("Notify selected users"),
        "opts": model_admin.opts,
        "form": form,
        "users": users,
        # If all users are selected, the keys are those of one page.
        "selection": [
            (name, value)
            for name in ("select_across", ACTION_CHECKBOX_NAME)
            for value in request.POST.getlist(name)
        ],
    }
    return render(request, "notifications/notify_users.html", context)


def has_notify_permission(request: HttpRequest) -> bool:
    """Return whether the user may add notifications."""
    return bool(request.user.has_perm("notifications.add_notification"))


# The accounts' own admin, which does not know of notifications.
user_admin: Any = admin.site.get_model_admin(User)
user_admin.has_notify_permission = has_notify_permission
user_admin.actions = [*user_admin.actions, notify_users]
