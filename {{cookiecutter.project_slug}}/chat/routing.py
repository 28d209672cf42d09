"""The WebSocket paths of the chat."""

from django.urls import path

from chat.consumers import ChatConsumer

websocket_urlpatterns = [
    path("ws/chat/<room:room>/", ChatConsumer.as_asgi(), name="room"),  # type: ignore[arg-type]
]
