"""HTTP middleware: operators name a process by its address, and pages declare what they load."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware import common
from django.urls import Resolver404, resolve
from django.utils.deprecation import MiddlewareMixin

from realtime.conf import settings
from realtime.origin import explain_refusal

NAMES = ("healthz", "readyz", "metrics")
VIEWS = {"realtime.health", "realtime.metrics"}  # modules


def is_for_operators(request: HttpRequest) -> bool:
    """Return whether a request is for a view of `realtime.urls`, wherever they are mounted."""
    if not request.path_info.endswith(NAMES):
        return False
    try:
        return resolve(request.path_info).func.__module__ in VIEWS
    except Resolver404:
        return False


class CommonMiddleware(common.CommonMiddleware):
    """Django's own middleware, except that operators may name any host, and caches store nothing.

    A page shows who is signed in. A public view sets a `Cache-Control` of its own.
    `client.js` asks with the header Handshake-Origin why a handshake failed.
    """

    def process_request(  # type: ignore[override]  # Django's own redirects only
        self, request: HttpRequest
    ) -> HttpResponse | None:
        if origin := request.headers.get("Handshake-Origin"):
            return HttpResponse(explain_refusal(request, origin), content_type="text/plain")
        return None if is_for_operators(request) else super().process_request(request)

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        response.headers.setdefault("Cache-Control", "no-store")
        return super().process_response(request, response)


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    """Middleware that sends `SECURE_CSP` before Django 6, which has one of the same name."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        # Django's pages for developers have inline styles and scripts.
        if not (settings.DEBUG and response.status_code in {400, 404, 500}):
            policy = (f"{name} {' '.join(values)}" for name, values in settings.SECURE_CSP.items())
            response.headers.setdefault("Content-Security-Policy", "; ".join(policy))
        return response
