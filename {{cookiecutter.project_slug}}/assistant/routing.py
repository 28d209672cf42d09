"""The WebSocket paths of the assistant."""

from django.urls import path

from assistant.consumers import AssistantConsumer

websocket_urlpatterns = [
    path("ws/assistant/<int:pk>/", AssistantConsumer.as_asgi(), name="conversation"),  # type: ignore[arg-type]
]
