"""Translations for scripts: `gettext`, `ngettext` and `interpolate`, and the texts of all apps."""

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path

from django.apps import apps
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import get_language, get_supported_language_variant, override
from django.views.decorators.http import require_safe
from django.views.i18n import JavaScriptCatalog

from realtime.conf import settings

YEAR = 365 * 24 * 3600  # seconds


class Catalog(JavaScriptCatalog):
    """Django's view for all apps but Django's own, whose scripts have a catalog in the admin."""

    def get_paths(self, packages: object) -> list[str]:
        folders = (
            Path(app.path, "locale")
            for app in apps.get_app_configs()
            if not app.name.startswith("django.")
        )
        return [str(folder) for folder in folders if folder.is_dir()]


@require_safe
@login_not_required
def translations(request: HttpRequest, language: str, version: str) -> HttpResponse:
    """Return the script of a language. Browsers keep it, because its path has its version."""
    if language not in dict(settings.LANGUAGES):
        raise Http404
    body = script(language)
    response = HttpResponse(body, content_type="text/javascript; charset=utf-8")
    response.headers["Content-Language"] = language
    if version == version_of(body):
        # Not for shared caches: the response may set the cookie of a guest.
        response.headers["Cache-Control"] = f"private, max-age={YEAR}, immutable"
    return response


def translations_path() -> str:
    """Return the path of the script in the language of the page.

    "en-us", the default of Django's new sites, is not among its `LANGUAGES`, and means "en" there.
    """
    language = get_language() or settings.LANGUAGE_CODE
    with suppress(LookupError):
        language = get_supported_language_variant(language)
    return reverse("translations", args=[language, version_of(script(language))])


def script(language: str) -> bytes:
    """Return the script of a language, read again for each page in development."""
    return build.__wrapped__(language) if settings.DEBUG else build(language)


@cache
def build(language: str) -> bytes:
    with override(language):
        return Catalog(packages=["all"]).get(HttpRequest()).content


def version_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:12]
