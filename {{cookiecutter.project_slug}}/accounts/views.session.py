"""Signing up; signing in and out are Django's own views."""

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme


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
