"""The WebSocket paths of devices."""

websocket_urlpatterns = []
