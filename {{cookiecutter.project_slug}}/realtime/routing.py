"""Paths of sockets by the names of their routes, wherever the site mounts them."""

from functools import cache
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, reverse
from django.utils.module_loading import import_string

from realtime.conf import settings

INSIDE = ("inner", "application", "app")  # attributes in which middleware keeps the next layer

type Routes = tuple[URLPattern | URLResolver, ...]


def socket_path(name: str, *args: Any, **kwargs: Any) -> str:
    """Return the path of a socket, as `reverse` does for a page.

    The name is that of a `path()` in the routers that `ASGI_APPLICATION` leads to. Raise
    NoReverseMatch if no route has this name and these arguments.
    """
    routes = site_routes(settings.ASGI_APPLICATION)
    # The stubs know modules and their names only.
    return reverse(name, routes, args or None, kwargs or None)  # type: ignore[arg-type]


@cache  # Django keeps a resolver for each tuple
def site_routes(application: str) -> Routes:
    router = router_of(import_string(application))
    if router is None:
        raise ImproperlyConfigured(
            f"ASGI_APPLICATION = {application!r} leads to no URLRouter. Name what is inside a "
            "middleware `inner`, as Channels does."
        )
    return routes_of(router)


def router_of(application: Any) -> URLRouter | None:
    """Return the router of sockets inside of an application, None if there is none."""
    while application is not None and not isinstance(application, URLRouter):
        if isinstance(application, ProtocolTypeRouter):
            application = application.application_mapping.get("websocket")
        else:
            layers = (getattr(application, name, None) for name in INSIDE)
            application = next(filter(None, layers), None)
    return application


def routes_of(router: URLRouter) -> Routes:
    """Return the routes in the form of `urlpatterns`, where routers are included."""
    routes: list[Any] = router.routes
    return tuple(
        URLResolver(route.pattern, routes_of(inner), route.default_args)
        if (inner := router_of(route.callback))
        else route
        for route in routes
    )
