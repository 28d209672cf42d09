"""Answers to a client that has to wait, and the address under which its attempts are counted."""

import logging
import math
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template import TemplateDoesNotExist
from django.utils.translation import gettext_lazy, ngettext

from realtime.logs import report
from realtime.proxy import network_of


class TooManyRequests(Exception):
    """Refusal of a request for some seconds."""

    status = 429
    reason = gettext_lazy("Too many attempts.")

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(f"{self.reason} {again_in(self.seconds)}")


def again_in(seconds: int) -> str:
    """Return when to try again, in the language of the visitor."""
    if seconds < 120:
        text = ngettext("Try again in %d second.", "Try again in %d seconds.", seconds)
        return text % seconds
    minutes = math.ceil(seconds / 60)
    return ngettext("Try again in %d minute.", "Try again in %d minutes.", minutes) % minutes


class TooManyRequestsMiddleware:
    """Middleware that answers `TooManyRequests` with `Retry-After`: by `429.html`, or by JSON."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, TooManyRequests):
            return None
        report("throttled", logging.WARNING, path=request.path)
        response = answer(request, error)
        response.headers["Retry-After"] = str(error.seconds)
        return response


def answer(request: HttpRequest, error: TooManyRequests) -> HttpResponse:
    """Return a page to a browser, which names HTML. A program accepts anything and gets JSON."""
    if request.get_preferred_type(["application/json", "text/html"]) != "text/html":
        return JsonResponse({"error": str(error)}, status=error.status)
    try:
        return render(request, "429.html", {"error": error}, status=error.status)
    except TemplateDoesNotExist:
        return HttpResponse(str(error), "text/plain", error.status)


def address_of(request: HttpRequest | None) -> str:
    """Return what the attempts of the client's address are counted under, "" if it is unknown."""
    return network_of(request.META.get("REMOTE_ADDR", "")) if request else ""
