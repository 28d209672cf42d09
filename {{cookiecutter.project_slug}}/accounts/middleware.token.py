"""Signs in programs that send a token."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

from accounts.models import user_of_token
from realtime.middleware import FOR_OPERATORS


class BearerMiddleware:
    """Makes `Authorization: Bearer <token>` as good as a session; 401 if the token is not valid."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and request.path not in FOR_OPERATORS:
            user = user_of_token(token)
            if user is None:
                return JsonResponse(
                    {"error": "The token is not valid."},
                    status=401,
                    headers={"WWW-Authenticate": "Bearer"},
                )
            request.user = user
            # A foreign page cannot send this header, so there is nothing to forge.
            request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
        return self.get_response(request)
