"""WebSocket paths and their consumers."""

from typing import Any

from django.urls import re_path

import chat.routing
from realtime.protocol import Close, refuse

websocket_urlpatterns: list[Any] = [
    *chat.routing.websocket_urlpatterns,
    re_path(r"", refuse(Close.NOT_FOUND)),  # type: ignore[arg-type]
]
