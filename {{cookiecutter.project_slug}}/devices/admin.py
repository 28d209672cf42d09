"""Devices and commands in the admin: to be read and searched, and devices to be deleted."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from devices.models import Command, Device


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Device)
class DeviceAdmin(ReadOnlyAdmin):
    list_display = ("name", "is_online", "value", "seen_at")
    search_fields = ("name",)

    def delete_model(self, request: HttpRequest, obj: Device) -> None:
        self.delete_queryset(request, Device.objects.filter(pk=obj.pk))

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        list(queryset.select_for_update())  # a bridge may store readings of them
        super().delete_queryset(request, queryset)


@admin.register(Command)
class CommandAdmin(ReadOnlyAdmin):
    list_display = ("device", "text", "state", "answer", "user_name", "created_at")
    list_select_related = ("device",)
    search_fields = ("=device__name", "text", "user_name")
    ordering = ("-pk",)
