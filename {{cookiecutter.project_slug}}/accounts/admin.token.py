"""Tokens in the admin: seen and revoked there, never made."""

from django.contrib import admin
from django.http import HttpRequest

from accounts.models import Token


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("user", "created_at")
    fields = readonly_fields = ("user", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
