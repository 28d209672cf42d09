"""Language of a connection: the one that the pages of its visitor have."""

from django.http import HttpRequest
from django.utils import translation

from realtime.conf import settings
from realtime.types import Application, Receive, Scope, Send, headers

LOCALE_MIDDLEWARE = "django.middleware.locale.LocaleMiddleware"


class LanguageMiddleware:
    """Middleware that activates the language of a handshake for its consumer and its threads.

    Its choice is Django's: the cookie, then `Accept-Language`, then `LANGUAGE_CODE`. Without
    Django's LocaleMiddleware, pages have one language only, and so have sockets.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if LOCALE_MIDDLEWARE not in settings.MIDDLEWARE:
            return await self.inner(scope, receive, send)
        with translation.override(language_of(scope)):
            await self.inner(scope, receive, send)


def language_of(scope: Scope) -> str:
    """Return the language of a handshake, one of `LANGUAGES`."""
    request = HttpRequest()
    request.COOKIES = scope["cookies"]
    request.META["HTTP_ACCEPT_LANGUAGE"] = ",".join(headers(scope, b"accept-language"))
    return translation.get_language_from_request(request)
