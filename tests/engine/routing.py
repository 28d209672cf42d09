"""WebSocket paths of the suite. ENGINE_CONSUMERS chooses the style of the consumers."""

import os
from importlib import import_module

from django.urls import path, re_path

from engine.census import CensusConsumer
from realtime.auth import public
from realtime.protocol import Close, refuse

consumers = import_module(f"engine.{os.environ['ENGINE_CONSUMERS']}_consumers")

websocket_urlpatterns = [
    path("ws/journal/<str:journal>/", consumers.JournalConsumer.as_asgi()),
    path("ws/open/<str:journal>/", public(consumers.JournalConsumer.as_asgi())),
    path("ws/feed/<str:feed>/", consumers.FeedConsumer.as_asgi()),
    path("ws/ordinary/", consumers.OrdinaryConsumer.as_asgi()),
    path("ws/slow/", consumers.SlowConsumer.as_asgi()),
    path("ws/stream/", consumers.StreamConsumer.as_asgi()),
    path("ws/stream/member/", consumers.StreamingMember.as_asgi()),
    path("ws/stream/plain/", consumers.PlainStreamConsumer.as_asgi()),
    path("ws/census/", CensusConsumer.as_asgi()),
    re_path(r"", refuse(Close.NOT_FOUND)),
]
