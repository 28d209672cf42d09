"""Bounds what one user can hold open."""

from collections import Counter

from django.conf import settings

from realtime.asgi import Application, Receive, Scope, Send, refuse
from realtime.protocol import Close


class ConnectionLimit:
    """Closes with 4409 what goes beyond `REALTIME_MAX_CONNECTIONS` of a user in this process."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner
        self.connections: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["user"].get_username()
        if self.connections[name] >= settings.REALTIME_MAX_CONNECTIONS:
            return await refuse(Close.TOO_MANY_CONNECTIONS)(scope, receive, send)
        self.connections[name] += 1
        try:
            await self.inner(scope, receive, send)
        finally:
            self.connections[name] -= 1
            if not self.connections[name]:
                del self.connections[name]
