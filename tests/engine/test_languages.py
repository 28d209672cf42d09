"""Languages: sockets answer in that of their handshake, and scripts get the texts of that of their page."""

from http.cookies import SimpleCookie

import pytest
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from django.conf import settings as django_settings
from django.http import Http404
from django.middleware.locale import LocaleMiddleware
from django.test import Client, RequestFactory
from django.urls import path, reverse
from django.utils import translation
from django.utils.translation import gettext

from engine.people import cookies_of
from realtime.asgi import RealtimeMiddlewareStack
from realtime.consumers import RealtimeConsumer, SyncRealtimeConsumer
from realtime.protocol import EventError
from realtime.testing import SocketClient
from realtime.translations import translations, translations_path

TEXTS = {"en": "Too many attempts.", "de": "Zu viele Versuche."}


class AsyncRefusing(RealtimeConsumer):
    async def receive_event(self, event):
        texts = {gettext(TEXTS["en"]), await database_sync_to_async(gettext)(TEXTS["en"])}
        raise EventError("refused", *texts)


class SyncRefusing(SyncRealtimeConsumer):
    def receive_event(self, event):
        raise EventError("refused", gettext(TEXTS["en"]))


class OwnLocaleMiddleware(LocaleMiddleware):
    """Middleware of a site that changes what Django's own does."""


@pytest.fixture(params=["django.middleware.locale.LocaleMiddleware", f"{__name__}.OwnLocaleMiddleware"])
def locale_middleware(settings, request):
    settings.MIDDLEWARE = [request.param, *django_settings.MIDDLEWARE]


async def refusals(consumer, *handshakes):
    """Return the languages in which sockets with these languages and cookies are refused, twice in turn."""
    stack = RealtimeMiddlewareStack(URLRouter([path("", consumer.as_asgi())]))
    sockets = []
    for number, (accepted, cookie) in enumerate(handshakes):
        cookies = SimpleCookie(await sync_to_async(cookies_of)(f"user-{number}"))
        if cookie:
            cookies[django_settings.LANGUAGE_COOKIE_NAME] = cookie
        headers = [(b"accept-language", accepted.encode())] if accepted else []
        sockets.append(await SocketClient.connect(stack, cookies=cookies, headers=headers))
    details = []
    for socket in sockets * 2:
        await socket.send(type="anything")
        details.append((await socket.receive())["detail"])
    for socket in sockets:
        await socket.disconnect()
    languages = [next(key for key, text in TEXTS.items() if text == detail) for detail in details]
    assert languages[: len(sockets)] == languages[len(sockets) :]
    return languages[: len(sockets)]


@pytest.mark.parametrize("consumer", [AsyncRefusing, SyncRefusing])
async def test_sockets_answer_in_the_languages_of_their_handshakes(database, locale_middleware, consumer):
    """The cookie is first, then Accept-Language. No language leaks into another connection, or out of one."""
    handshakes = [("de-AT,de;q=0.9,en;q=0.5", ""), ("en", ""), ("", ""), ("fr", ""), ("en", "de"), ("de", "en")]
    assert await refusals(consumer, *handshakes) == ["de", "en", "en", "en", "de", "en"]
    assert translation.get_language() == "en"


async def test_sockets_have_one_language_without_the_middleware_of_pages(database):
    """Accept-Language changes nothing on a site whose pages do not follow it."""
    assert await refusals(AsyncRefusing, ("de", ""), ("en", "de")) == ["en", "en"]


def test_scripts_get_the_texts_of_a_language(locale_middleware):
    """The path changes with the texts, so that browsers may keep them. Strangers may load it, in any language."""
    client = Client()
    paths = {}
    for language in TEXTS:
        with translation.override(language):
            paths[language] = translations_path()
        response = client.get(paths[language], HTTP_ACCEPT_LANGUAGE="fr")
        assert (response.status_code, response["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert response["Content-Language"] == language
        assert response["Cache-Control"] == "private, max-age=31536000, immutable"
        assert "django.gettext" in response.text
    assert paths["de"] != paths["en"]
    assert client.get(reverse("translations", args=["de", "old"]))["Cache-Control"] == "no-store"
    with pytest.raises(Http404):
        translations(RequestFactory().get("/"), "fr", "x")


@pytest.mark.parametrize(("language", "served"), [("en-us", "en"), ("de-at", "de")])
def test_scripts_have_a_language_of_the_site(language, served):
    """A variant that `LANGUAGES` lacks, as the `LANGUAGE_CODE` of a new Django site, has the script of its language."""
    with translation.override(language):
        path = translations_path()
    assert path.startswith(f"/translations/{served}.")
    assert Client().get(path).status_code == 200
