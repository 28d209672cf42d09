"""HTTP paths and their views."""

{% if cookiecutter.auth != "none" %}
from django.contrib import admin
{% endif %}
from django.urls import include, path
{% if cookiecutter.examples == "none" %}
from django.views.generic import TemplateView
{% else %}

from chat.views import rooms
{% endif %}

urlpatterns = [
{% if cookiecutter.examples == "none" %}
    path("", TemplateView.as_view(template_name="home.html"), name="home"),
{% else %}
    path("", rooms, name="home"),  # the start page
{% endif %}
{% for app in cookiecutter.__apps.split() %}
    path("", include("{{ app }}.urls")),
{% endfor %}
{% if cookiecutter.auth != "none" %}
    path("", include("accounts.urls")),
{% endif %}
    path("", include("realtime.urls")),
{% if cookiecutter.auth != "none" %}
    path("admin/", admin.site.urls),
{% endif %}
]
