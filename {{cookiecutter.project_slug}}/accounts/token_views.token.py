"""HTTP API for tokens and tickets."""

import json
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import User
from accounts.tokens import digest_of, issue_ticket, issue_token, revoke_token
from realtime.auth.sessions import credential_of_session


@csrf_exempt  # cookies are ignored here
@login_not_required
@require_http_methods(["POST", "DELETE"])
def token(request: HttpRequest) -> JsonResponse:
    """POST a name and password, as a form or JSON, for a new token. DELETE revokes the one sent."""
    if request.method == "DELETE":
        revoke_token(request.headers.get("Authorization", "").removeprefix("Bearer "))
        return JsonResponse({})
    form = AuthenticationForm(request, credentials(request))
    if not form.is_valid():
        return JsonResponse({"error": "The name or the password is wrong."}, status=401)
    user = form.get_user()
    assert isinstance(user, User)
    return JsonResponse({"token": issue_token(user)})


def credentials(request: HttpRequest) -> dict[str, Any]:
    if request.content_type != "application/json":
        return request.POST.dict()
    try:
        content = json.loads(request.body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


@require_POST
def ticket(request: HttpRequest) -> JsonResponse:
    """Issue a ticket to the user of the session or of the `Authorization: Bearer` header."""
    assert isinstance(request.user, User)
    _, _, token = request.headers.get("Authorization", "").partition(" ")
    session_key = request.session.session_key
    credential = digest_of(token) if token else credential_of_session(session_key)
    return JsonResponse({"ticket": issue_ticket(request.user, credential)})
