"""The whole protocol stack: HTTP, WebSocket and lifespan."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()  # before the imports below, which need the models

from config.routing import websocket_urlpatterns
from realtime.asgi import lifespan
from realtime.auth import AuthMiddleware
from realtime.bodies import BodyLimit
from realtime.limits import ConnectionLimit
from realtime.origin import OriginValidator
from realtime.proxy import TrustedProxies
from realtime.threads import ThreadPool

application = TrustedProxies(
    ProtocolTypeRouter(
        {
            "http": BodyLimit(django_application),
            "websocket": OriginValidator(
                ThreadPool(AuthMiddleware(ConnectionLimit(URLRouter(websocket_urlpatterns))))
            ),
            "lifespan": lifespan,
        }
    )
)
