"""Authentication of HTTP requests by tokens."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

from accounts.tokens import user_of_token
from realtime.middleware import FOR_OPERATORS


class BearerMiddleware:
    """Sets `request.user` to the owner of `Authorization: Bearer <token>`. 401 if it is invalid."""

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
