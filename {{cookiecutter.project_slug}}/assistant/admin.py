"""Conversations in the admin: to be read, searched and deleted."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from assistant.models import Conversation, Turn


class TurnInline(admin.StackedInline):  # type: ignore[type-arg]
    model = Turn
    fields = ("asked_at", "question", "answer", "job")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Conversation)
class ConversationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("__str__", "user_id", "user_name", "created_at", "asked_at")
    search_fields = ("title", "=user_id", "user_name")
    inlines = (TurnInline,)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
