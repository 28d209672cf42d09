"""The WebSocket path of the dashboard."""

from django.urls import path

from dashboard.consumers import DashboardConsumer
{% if cookiecutter.auth != "none" %}
from realtime.auth import public

consumer = public(DashboardConsumer.as_asgi())  # asks `may_watch` itself
{% endif %}

websocket_urlpatterns = [
    path("ws/dashboard/", {{ "DashboardConsumer.as_asgi()" if cookiecutter.auth == "none" else "consumer" }}, name="dashboard"),  # type: ignore[arg-type]
]
