"""Accounts{{ " and tokens" if cookiecutter.auth == "token" }} in the admin."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
{% if cookiecutter.auth == "token" %}
from django.http import HttpRequest
{% endif %}
from django.views.generic import RedirectView

from accounts.models import {{ "Token, User" if cookiecutter.auth == "token" else "User" }}
from realtime.auth.views import LogoutView

# The admin's own pages have no throttle, and leave what the browser stored.
change_password = RedirectView.as_view(pattern_name="password_change")
admin.site.password_change = change_password  # type: ignore[method-assign,assignment]
admin.site.logout = LogoutView.as_view()  # type: ignore[method-assign,assignment]


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    list_display = ("username", "display_name", "email", "is_staff", "is_active")
    search_fields = ("username", "display_name", "email")
    fieldsets = ((None, {"fields": ("display_name",)}), *(DjangoUserAdmin.fieldsets or ()))
{% if cookiecutter.auth == "token" %}


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Tokens can be viewed and revoked, but not created."""

    list_display = ("name", "user", "created_at", "last_used_at", "expires_at")
    list_select_related = ("user",)
    fields = readonly_fields = list_display

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
{% endif %}
