"""HTTP API for tokens and tickets, and the page of a user's tokens."""

import json

from django import forms
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import Token
from accounts.tokens import TooManyTokens, issue_ticket, issue_token, valid_tokens
from realtime.auth.models import trust_address
from realtime.protocol import is_storable


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Token
        fields = ("name",)


@csrf_exempt  # cookies are ignored here
@login_not_required
@require_http_methods(["POST", "DELETE"])
def token(request: HttpRequest) -> JsonResponse:
    """POST a name and password, as a form or JSON, for a new token. DELETE revokes the one sent."""
    return create(request) if request.method == "POST" else delete(request)


def create(request: HttpRequest) -> JsonResponse:
    fields = fields_of(request)
    name = fields.get("name") or request.headers.get("User-Agent", "").strip()[:100] or "API"
    name_form = TokenForm({"name": name})
    if not {"username", "password"} <= fields.keys() or not name_form.is_valid():
        error = "Send `username`, `password` and perhaps `name`: a form, or a JSON object of texts."
        return problem(400, error)
    form = AuthenticationForm(request, fields)
    if not form.is_valid():
        return problem(401, "The name or the password is wrong.")
    try:
        text, token = issue_token(form.get_user(), name_form.cleaned_data["name"])
    except TooManyTokens as error:
        return problem(409, str(error))
    trust_address(request, form.get_user())
    return JsonResponse({"token": text, "expires_at": token.expires_at})


def delete(request: HttpRequest) -> JsonResponse:
    token: Token | None = getattr(request, "token", None)
    if token is None:
        return problem(401, "Send the token to revoke: `Authorization: Bearer <token>`.")
    token.delete()
    return JsonResponse({})


def problem(status: int, error: str) -> JsonResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JsonResponse({"error": error}, status=status, headers=headers)


def fields_of(request: HttpRequest) -> dict[str, str]:
    """Return the fields of a form or a JSON object, none if one of them is not a plain text."""
    content: object = request.POST.dict()
    if request.content_type == "application/json":
        try:
            content = json.loads(request.body)
        except (ValueError, RecursionError):
            content = None
    if not isinstance(content, dict):
        return {}
    texts = all(isinstance(value, str) and is_storable(value) for value in content.values())
    return content if texts else {}


@csrf_exempt  # until the user is known: a stranger gets 401
@login_not_required
@require_POST
def ticket(request: HttpRequest) -> HttpResponse:
    """Issue a ticket to the user of the session or of the `Authorization: Bearer` header."""
    if not request.user.is_authenticated:
        return problem(401, "Sign in, or send a token: `Authorization: Bearer <token>`.")
    return create_ticket(request)


@csrf_protect
def create_ticket(request: HttpRequest) -> HttpResponse:
    token: Token | None = getattr(request, "token", None)
    key = "" if token else request.session.session_key
    assert request.user.is_authenticated
    return JsonResponse({"ticket": issue_ticket(request.user, token=token, session_key=key or "")})


def tokens(request: HttpRequest) -> HttpResponse:
    """List the tokens of the user, and create one. Its text is shown once."""
    assert request.user.is_authenticated
    form = TokenForm(request.POST or None)
    text = ""
    if form.is_valid():
        try:
            text, _ = issue_token(request.user, form.cleaned_data["name"])
            form = TokenForm()
        except TooManyTokens as error:
            form.add_error(None, str(error))
    context = {"form": form, "text": text, "tokens": valid_tokens(request.user)}
    return render(request, "accounts/tokens.html", context)


@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke a token of the user."""
    Token.objects.filter(pk=pk, user=request.user.pk).delete()
    return redirect("tokens")
