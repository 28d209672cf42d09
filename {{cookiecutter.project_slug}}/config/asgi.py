"""Protocol stack of the site: HTTP, WebSocket and lifespan."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()  # before the imports below, which need the models

from config.routing import websocket_urlpatterns
from realtime.asgi import RealtimeMiddlewareStack, lifespan
from realtime.bodies import BodyLimit
from realtime.proxy import TrustedProxies

application = TrustedProxies(
    ProtocolTypeRouter(
        {
            "http": BodyLimit(django_application),
            "websocket": RealtimeMiddlewareStack(URLRouter(websocket_urlpatterns)),
            "lifespan": lifespan,
        }
    )
)
