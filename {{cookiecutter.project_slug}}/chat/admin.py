"""Rooms and messages in the admin. Moderate by changing a text: a deleted message leaves a gap."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from chat.models import Message, Room


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "seq")
    search_fields = ("name",)
    readonly_fields = ("seq",)


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("room", "seq", "user_name", "at", "text")
    list_filter = ("room",)
    search_fields = ("user_name", "text")
    readonly_fields = ("room", "seq", "user_name", "ref", "at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
