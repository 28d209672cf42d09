"""Protocol stack of the site: HTTP, WebSocket and lifespan."""

import os

{% if cookiecutter.examples == "all" %}
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
{% else %}
from channels.routing import ProtocolTypeRouter, URLRouter
{% endif %}
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()  # before the imports below, which need the models

from config.routing import {{ "channels, " if cookiecutter.examples == "all" }}websocket_urlpatterns
from realtime.asgi import RealtimeMiddlewareStack, lifespan
from realtime.bodies import BodyLimit
from realtime.proxy import TrustedProxies

application = TrustedProxies(
    ProtocolTypeRouter(
        {
            "http": BodyLimit(django_application),
            "websocket": RealtimeMiddlewareStack(URLRouter(websocket_urlpatterns)),
{% if cookiecutter.examples == "all" %}
            "channel": ChannelNameRouter(channels),
{% endif %}
            "lifespan": lifespan,
        }
    )
)
