"""Signing up, tokens and tickets; signing in and out are Django's own views."""

import json
from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm, UserCreationForm
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import issue_ticket, issue_token, revoke_token


@login_not_required
def signup(request: HttpRequest) -> HttpResponse:
    """Create an account, sign it in, and go on to `?next=`, while `SIGNUP_OPEN`; 404 otherwise."""
    if not settings.SIGNUP_OPEN:
        raise Http404("Sign-up is closed.")
    form: UserCreationForm[User] = UserCreationForm(request.POST or None)
    if form.is_valid():
        login(request, form.save())
        destination = request.GET.get("next", "")
        if not url_has_allowed_host_and_scheme(destination, request.get_host()):
            destination = "home"
        return redirect(destination)
    return render(request, "accounts/signup.html", {"form": form})


@csrf_exempt  # no cookie is believed here
@login_not_required
@require_http_methods(["POST", "DELETE"])
def token(request: HttpRequest) -> JsonResponse:
    """POST a name and password (a form, or JSON) for a new token; DELETE revokes the one sent."""
    if request.method == "DELETE":
        revoke_token(request.headers.get("Authorization", "").removeprefix("Bearer "))
        return JsonResponse({})
    form = AuthenticationForm(request, credentials(request))
    if not form.is_valid():
        return JsonResponse({"error": "The name or the password is wrong."}, status=401)
    return JsonResponse({"token": issue_token(form.get_user())})


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
    """A ticket for the user of the session or of the `Authorization: Bearer` header."""
    assert isinstance(request.user, User)
    _, _, token = request.headers.get("Authorization", "").partition(" ")
    credential = token or str(request.session.session_key)
    return JsonResponse({"ticket": issue_ticket(request.user, credential)})
