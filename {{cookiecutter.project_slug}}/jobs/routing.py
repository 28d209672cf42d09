"""The WebSocket paths of jobs, and the channels of `manage.py runworker`."""

from typing import Any

from django.urls import path

from jobs.consumers import EstimateConsumer, JobsConsumer

websocket_urlpatterns = [
    path("ws/jobs/", JobsConsumer.as_asgi(), name="jobs"),  # type: ignore[arg-type]
]

channels: dict[str, Any] = {"estimates": EstimateConsumer.as_asgi()}
