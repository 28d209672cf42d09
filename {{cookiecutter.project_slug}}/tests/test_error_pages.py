"""Pages of errors: they have the look of the site, lead home, and disclose nothing."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.management import call_command
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.views import csrf, defaults
from pytest_django import Settings

SECRET = "a private page"

VIEWS: list[tuple[int, Callable[[HttpRequest], HttpResponse]]] = [
    (400, partial(defaults.bad_request, exception=SuspiciousOperation(SECRET))),
    (403, partial(defaults.permission_denied, exception=PermissionDenied(SECRET))),
    (403, partial(csrf.csrf_failure, reason=SECRET)),
    (404, partial(defaults.page_not_found, exception=Http404(SECRET))),
    (500, defaults.server_error),
]


def test_errors_have_the_look_of_the_site(settings: Settings, tmp_path: Path) -> None:
    """No page needs the database, and style sheets have their names of production."""
    settings.STATIC_ROOT = tmp_path
    static = {"BACKEND": "realtime.storage.StaticStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": static}
    call_command("collectstatic", interactive=False, verbosity=0)
    (style,) = tmp_path.glob("site.????????????.css")
    for status, view in VIEWS:
        response = view(RequestFactory().get("/nowhere/"))
        page = response.content.decode()
        assert response.status_code == status
        assert f"static/{style.name}" in page
        assert '<a href="/">Go to the start page</a>' in page
        assert [text for text in (SECRET, "nowhere") if text in page] == []


@pytest.mark.django_db
def test_form_without_a_token_is_refused_readably(settings: Settings) -> None:
    """The page has no inline style, which the policy would refuse, in development either."""
    settings.DEBUG = True
    response = Client(enforce_csrf_checks=True).post("/")
    assert (response.status_code, b"Form expired" in response.content) == (403, True)
    assert "Content-Security-Policy" in response
