"""The project's own server, with one more consumer."""

import config.asgi  # noqa: F401  # isort: split
from bench_consumers import BenchConsumer
from config.routing import websocket_urlpatterns
from django.urls import path
from realtime.servers import workers

websocket_urlpatterns.insert(0, path("ws/bench/<room>/", BenchConsumer.as_asgi()))

if __name__ == "__main__":
    workers.run()
