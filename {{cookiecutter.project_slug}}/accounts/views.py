"""Sign-up, and the page of an account. The other pages are Django's own."""

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import RedirectURLMixin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView

from accounts.forms import EmailForm, SignUpForm
from realtime.auth.backends import backend_of
from realtime.auth.models import Throttle, of_address


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
        with Throttle.attempt(of_address(self.request, "sign-ups")):
            user = form.save()
        login(self.request, user, backend_of(user))
        return response


@sensitive_post_parameters()
def account(request: HttpRequest) -> HttpResponse:
    """Change the e-mail address of the user. The page leads to a change of the password."""
    assert request.user.is_authenticated
    form = EmailForm(request.POST or None, instance=request.user)
    saved = form.is_valid()
    if saved:
        form.save()
    context = {"title": gettext("Account"), "form": form, "saved": saved}
    return render(request, "accounts/account.html", context)
