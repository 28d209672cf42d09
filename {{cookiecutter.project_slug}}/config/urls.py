"""HTTP paths and their views."""

from django.contrib import admin
from django.urls import include, path

from chat.views import rooms

urlpatterns = [
    path("", rooms, name="home"),  # the start page
    path("", include("chat.urls")),
{% if cookiecutter.auth != "none" %}
    path("", include("accounts.urls")),
{% endif %}
    path("", include("realtime.urls")),
    path("admin/", admin.site.urls),
]
