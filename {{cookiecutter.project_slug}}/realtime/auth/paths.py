"""Paths that are open to visitors who have not signed in."""

from typing import Any

from channels.routing import URLRouter
from django.urls.exceptions import Resolver404

from realtime.types import Application, Receive, Scope, Send


def public(application: Application) -> Application:
    """Open one path to visitors who have not signed in. Each of them is a `Guest`.

    Middleware of your own goes inside, or around the whole stack: below the stack only URLRouter
    may stand between it and a public path.
    """
    if isinstance(application, URLRouter):
        raise TypeError("public() opens one path. Use it for each path within the URLRouter.")
    return PublicApplication(application)


class PublicApplication:
    """Application that `public` opened."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.inner(scope, receive, send)
        except Resolver404 as error:
            # URLRouter would go on to the next route, which may not be public.
            raise LookupError("A public application raised Resolver404") from error


def is_public(router: Any, scope: Scope) -> bool:
    """Return whether the router leads to a public application. An unknown router does not."""
    path = scope.get("path_remaining")
    if path is None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
    try:
        return leads_to_public(router, path)
    except Resolver404:
        return False


def leads_to_public(application: Any, path: str) -> bool:
    """Match as URLRouter does. Raise Resolver404 if no route matches.

    A subclass, or another middleware, may route in a way of its own.
    """
    if type(application) is not URLRouter:
        return isinstance(application, PublicApplication)
    routes: list[Any] = application.routes
    for route in routes:
        try:
            if match := route.pattern.match(path.lstrip("/")):
                return leads_to_public(route.callback, match[0])
        except Resolver404:
            pass
    raise Resolver404
