"""Protocol stack of a site: what every request and every socket passes."""

from realtime.auth import AuthMiddleware
from realtime.connection import ConnectionMiddleware
from realtime.https import HttpsRequired
from realtime.languages import LanguageMiddleware
from realtime.origin import OriginValidator
from realtime.threads import ThreadPool
from realtime.types import Application, Receive, Scope, Send


def RealtimeMiddlewareStack(inner: Application) -> Application:
    """Validate scheme and origin, sign in the user, and apply the limits of sockets to `inner`."""
    connected = LanguageMiddleware(ConnectionMiddleware(inner))
    authenticated = AuthMiddleware(connected, router=inner)
    return HttpsRequired(OriginValidator(ThreadPool(authenticated), defer=True))


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the lifespan events of the server, which need no action (ASGI Lifespan protocol)."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
