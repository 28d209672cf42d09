"""Protocol stack of the suite, as a project writes it."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "engine.settings")
django_application = get_asgi_application()

from engine.routing import websocket_urlpatterns  # noqa: E402
from realtime.asgi import RealtimeMiddlewareStack, lifespan  # noqa: E402
from realtime.bodies import BodyLimit  # noqa: E402
from realtime.proxy import TrustedProxies  # noqa: E402

application = TrustedProxies(
    ProtocolTypeRouter(
        {
            "http": BodyLimit(django_application),
            "websocket": RealtimeMiddlewareStack(URLRouter(websocket_urlpatterns)),
            "lifespan": lifespan,
        }
    )
)
