"""{{ "WebSocket paths, channels" if cookiecutter.examples == "all" else "WebSocket paths" }} and their consumers."""

from typing import Any

from django.urls import re_path

{% for app in cookiecutter.__apps.split() %}
import {{ app }}.routing
{% endfor %}
from realtime.protocol import Close, refuse

websocket_urlpatterns: list[Any] = [
{% for app in cookiecutter.__apps.split() %}
    *{{ app }}.routing.websocket_urlpatterns,
{% endfor %}
    re_path(r"", refuse(Close.NOT_FOUND)),  # type: ignore[arg-type]
]
{% if cookiecutter.examples == "all" %}

channels: dict[str, Any] = {}  # consumers of `manage.py runworker`
channels |= jobs.routing.channels
{% endif %}
