"""The WebSocket paths of devices."""

from django.urls import path

from devices.consumers import DeviceConsumer, DevicesConsumer

websocket_urlpatterns = [
    path("ws/devices/", DevicesConsumer.as_asgi(), name="devices"),  # type: ignore[arg-type]
    path("ws/devices/<slug:name>/", DeviceConsumer.as_asgi(), name="device"),  # type: ignore[arg-type]
]
