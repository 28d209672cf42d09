"""Rooms and messages in the admin. Moderate by changing a text: a deletion would leave a gap."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AutocompleteSelect
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
        if not change:
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
    search_fields = ("room__name", "user__display_name")
    autocomplete_fields = ("room", "user")
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Member | None = None) -> Any:
        return () if obj is None else ("room", "user")


class RoomForm(forms.Form):
    """A field that finds a room by its name, instead of a list of all rooms."""

    room__id__exact = forms.ModelChoiceField(
        Room.objects.all(),
        widget=AutocompleteSelect(
            Message._meta.get_field("room"), admin.site, attrs={"aria-label": "Room"}
        ),
    )


class RoomFilter(admin.RelatedFieldListFilter):
    """Messages of one room."""

    template = "chat/room_filter.html"

    def field_choices(self, *_: Any) -> list[Any]:
        return []

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        others = {**changelist.params}
        form = RoomForm(initial={self.lookup_kwarg: others.pop(self.lookup_kwarg, None)})
        yield {"field": form[self.lookup_kwarg], "others": others}


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("room", "seq", "user_id", "user_name", "at", "text")
    list_filter = (("room", RoomFilter),)
    list_select_related = ("room",)
    search_fields = ("=user_id", "user_name", "text")
    readonly_fields = ("room", "seq", "user_id", "user_name", "ref", "at")
    ordering = ("-pk",)
    show_full_result_count = False

    @property
    def media(self) -> forms.Media:
        return super().media + RoomForm().media

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
