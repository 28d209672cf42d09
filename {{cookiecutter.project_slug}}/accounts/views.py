"""Sign-up. Signing in and out are Django's own views."""

from django.conf import settings
from django.contrib.auth import load_backend, login
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.forms import SignUpForm
from accounts.models import User


@login_not_required
def signup(request: HttpRequest) -> HttpResponse:
    """Create an account, sign it in, and redirect to `?next=`. 404 unless `SIGNUP_OPEN`."""
    if not settings.SIGNUP_OPEN:
        raise Http404("Sign-up is closed.")
    form = SignUpForm(request.POST or None)
    if form.is_valid():
        user = form.save()
        login(request, user, backend_of(user))
        destination = request.GET.get("next", "")
        if not url_has_allowed_host_and_scheme(destination, request.get_host()):
            destination = settings.LOGIN_REDIRECT_URL
        return redirect(destination)
    return render(request, "accounts/signup.html", {"form": form})


def backend_of(user: User) -> str:
    """Return the first of the AUTHENTICATION_BACKENDS that finds the user in the next request."""
    backends = settings.AUTHENTICATION_BACKENDS
    return next(path for path in backends if load_backend(path).get_user(user.pk))
