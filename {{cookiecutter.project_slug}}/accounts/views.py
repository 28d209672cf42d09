"""Sign-up. Signing in and out and passwords are Django's own views."""

from typing import Any

from django.conf import settings
from django.contrib.auth import load_backend, login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import RedirectURLMixin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView

from accounts.forms import SignUpForm
from accounts.models import User


@method_decorator([login_not_required, sensitive_post_parameters()], name="dispatch")
class SignUpView(RedirectURLMixin, FormView):  # type: ignore[type-arg]
    """Create an account, sign it in, and redirect to `?next=`. 404 unless `SIGNUP_OPEN`."""

    template_name = "accounts/signup.html"
    form_class = SignUpForm
    next_page = settings.LOGIN_REDIRECT_URL

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.SIGNUP_OPEN:
            raise Http404("Sign-up is closed.")
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        # First the response: a `?next=` that it refuses must not leave an account behind.
        response = HttpResponseRedirect(self.get_success_url())
        user = form.save()
        login(self.request, user, backend_of(user))
        return response


def backend_of(user: User) -> str:
    """Return the first of the AUTHENTICATION_BACKENDS that finds the user in the next request."""
    backends = settings.AUTHENTICATION_BACKENDS
    return next(path for path in backends if load_backend(path).get_user(user.pk))
