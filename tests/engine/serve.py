"""The project's server with the suite's consumers."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "engine.settings"

import config.asgi  # noqa: F401
from config.routing import websocket_urlpatterns
from config.server import main
from engine.routing import websocket_urlpatterns as own

websocket_urlpatterns[:] = own

if __name__ == "__main__":
    main()
