"""Rooms and messages in the admin.

Moderate by emptying a text, which deletes the message for good: its author could change another
text back. The row stays, because numbers have no gap.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.http import HttpRequest

from chat.models import Member, Message, Room
from realtime.identity import display_name, user_id


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "seq", "created_by", "created_by_name", "created_at")
    search_fields = ("name", "=created_by", "created_by_name")
    readonly_fields = ("seq", "created_by", "created_by_name", "created_at")
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Room | None = None) -> Any:
        """Keep the name of a room: open pages and links have it."""
        return self.readonly_fields if obj is None else ("name", *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: Room, form: Any, change: bool) -> None:
        """Store the creator of the room. Staff may create any number here."""
        if change:  # without `seq`, which messages change meanwhile
            obj.save(update_fields=form.changed_data)
            return
        obj.created_by = user_id(request.user)
        obj.created_by_name = display_name(request.user)
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Keep every room: its numbers would start again, below those that clients have seen."""
        return False


@admin.register(Member)
class MemberAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Members of private rooms. To replace a member, delete one and add another."""

    list_display = ("room", "user", "is_owner")
    list_select_related = ("room", "user")
    search_fields = ("room__name", f"user__{get_user_model().USERNAME_FIELD}")
    autocomplete_fields = ("room", "user")
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Member | None = None) -> Any:
        return () if obj is None else ("room", "user")


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("room", "seq", "user_id", "user_name", "at", "text")
    list_select_related = ("room",)
    search_fields = ("=user_id", "user_name", "text", "room__name")
    readonly_fields = ("room", "seq", "user_id", "user_name", "ref", "at")
    ordering = ("-pk",)
    show_full_result_count = False

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        return super().formfield_for_dbfield(db_field, request, **options, required=False)

    def has_change_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        """Keep a deleted message as it is, even if its form was open before."""
        is_deleted = obj is not None and obj.text == ""
        return not is_deleted and super().has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
