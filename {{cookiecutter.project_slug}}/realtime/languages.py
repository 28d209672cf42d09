"""Language of a connection: the one that the pages of its visitor have."""

from django.http import HttpRequest
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.module_loading import import_string

from realtime.conf import settings
from realtime.types import Application, Receive, Scope, Send, headers


class LanguageMiddleware:
    """Middleware that activates the language of a handshake for its consumer and its threads.

    Its choice is Django's: the cookie, then `Accept-Language`, then `LANGUAGE_CODE`. Without
    Django's LocaleMiddleware or a subclass, pages have one language only, and so have sockets.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner
        pages = map(import_string, settings.MIDDLEWARE)
        self.is_needed = any(isinstance(x, type) and issubclass(x, LocaleMiddleware) for x in pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.is_needed:
            return await self.inner(scope, receive, send)
        with translation.override(language_of(scope)):
            await self.inner(scope, receive, send)


def language_of(scope: Scope) -> str:
    """Return the language of a handshake, one of `LANGUAGES`."""
    request = HttpRequest()
    request.COOKIES = scope["cookies"]
    request.META["HTTP_ACCEPT_LANGUAGE"] = ",".join(headers(scope, b"accept-language"))
    return translation.get_language_from_request(request)
