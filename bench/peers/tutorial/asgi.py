"""Application of the tutorial. If TUTORIAL_AUTH is set, AuthMiddlewareStack wraps it, as in the tutorial."""

import importlib
import os
import sys
from pathlib import Path

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

django.setup()

# The asynchronous consumer stands unmodified beside the tests of the tutorials.
sys.path.append(str(Path(__file__).resolve().parents[3] / "tests" / "support" / "unbaked"))
MODULES = {"sync": "tutorial.consumers_sync", "async": "chat.consumers"}
consumers = importlib.import_module(MODULES[os.environ["TUTORIAL_CONSUMERS"]])
websocket_urlpatterns = [re_path(r"ws/chat/(?P<room_name>\w+)/$", consumers.ChatConsumer.as_asgi())]
router = URLRouter(websocket_urlpatterns)
application = ProtocolTypeRouter({"websocket": AuthMiddlewareStack(router) if os.environ["TUTORIAL_AUTH"] else router})
