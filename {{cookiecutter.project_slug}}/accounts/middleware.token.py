"""Authentication of HTTP requests by tokens."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve

from accounts import token_views
from accounts.models import User
from accounts.tokens import bearer_token, find_token
from realtime.auth.urls import reset_urlpatterns, urlpatterns
from realtime.middleware import is_for_operators

PAGES = {pattern.name for pattern in urlpatterns + reset_urlpatterns}
PAGES |= {"account", "signup", "tokens", "revoke-token"}


class BearerMiddleware:
    """Middleware that sets `request.user` to the owner of a bearer token, or answers 401.

    Other kinds of authorization are passed on. The admin and the pages of accounts need a session,
    so that a token can neither administer the site nor create more tokens.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        text = bearer_token(request.headers.get("Authorization", ""))
        if text and not is_for_operators(request) and not needs_session(request):
            token = find_token(text)
            if token is None:
                return token_views.problem(401, "The token is invalid.")
            sign_in(request, token.user)
            request.token = token  # type: ignore[attr-defined]
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *_: object
    ) -> HttpResponse | None:
        """Answer 401 if a view needs a user, and no authentication knows the bearer token.

        Only browsers follow a redirect to the login.
        """
        authorization = request.headers.get("Authorization", "")
        if not authorization.lower().startswith("bearer") or bearer_token(authorization):
            return None
        if request.user.is_authenticated or not getattr(view, "login_required", True):
            return None
        return token_views.problem(401, "The token is invalid.")


def needs_session(request: HttpRequest) -> bool:
    """Return whether the path belongs to the admin or to accounts, wherever they are mounted."""
    try:
        match = resolve(request.path_info)
    except Resolver404:
        return False
    is_page = match.url_name in PAGES or "accounts" in match.route.split("/")
    return is_page or "admin" in match.app_names


def sign_in(request: HttpRequest, user: User) -> None:
    async def auser() -> User:
        return user

    request.user, request.auser = user, auser
    # A page of another site cannot send the header, so there is nothing to forge.
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
