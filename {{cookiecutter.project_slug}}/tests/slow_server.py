"""The project's server, with one more consumer that works for a second."""

from django.urls import path

import config.asgi  # noqa: F401
from config.routing import websocket_urlpatterns
from realtime.servers import workers
from tests.slow import SlowConsumer

websocket_urlpatterns.insert(0, path("ws/slow/", SlowConsumer.as_asgi()))  # type: ignore[arg-type]

if __name__ == "__main__":
    workers.run(exit_with_parent=True)
