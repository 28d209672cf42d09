"""Which view answers at which HTTP path."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("chat.urls")),
{% if cookiecutter.auth != "none" %}
    path("", include("accounts.urls")),
{% endif %}
    path("", include("realtime.urls")),
    path("admin/", admin.site.urls),
]
