"""WebSocket paths and their consumers."""

from typing import Any

from django.urls import re_path

{% if cookiecutter.examples == "chat" %}
import chat.routing
{% endif %}
from realtime.protocol import Close, refuse

websocket_urlpatterns: list[Any] = [
{% if cookiecutter.examples == "chat" %}
    *chat.routing.websocket_urlpatterns,
{% endif %}
    re_path(r"", refuse(Close.NOT_FOUND)),  # type: ignore[arg-type]
]
