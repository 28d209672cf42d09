"""HTTP paths of accounts{{ ", tokens and tickets" if cookiecutter.auth == "token" }}."""

from django.conf import settings
from django.contrib.auth.views import LoginView, PasswordResetView
from django.urls import include, path
from django.utils.functional import lazy

{% if cookiecutter.auth == "token" %}
from accounts import token_views
{% endif %}
from accounts.views import SignUpView, account
from realtime.auth.forms import PasswordResetForm
from realtime.auth.urls import reset_urlpatterns
from realtime.mail import site_name

urlpatterns = [
    path("accounts/", account, name="account"),
    path("accounts/signup/", SignUpView.as_view(), name="signup"),
    path(
        "accounts/login/",
        LoginView.as_view(
            extra_context={"signup_open": settings.SIGNUP_OPEN}, redirect_authenticated_user=True
        ),
        name="login",
    ),
    path("accounts/", include("realtime.auth.urls")),  # Django's own, throttled
{% if cookiecutter.auth == "token" %}
    path("accounts/tokens/", token_views.tokens, name="tokens"),
    path("accounts/tokens/<int:pk>/revoke/", token_views.revoke, name="revoke-token"),
    path("api/token/", token_views.token, name="token"),
    path("api/ticket/", token_views.ticket, name="ticket"),
{% endif %}
]

if settings.EMAIL:  # without it, a link cannot be sent
    reset = PasswordResetView.as_view(
        form_class=PasswordResetForm,
        extra_email_context={"site_name": lazy(site_name, str)()},  # instead of the host
    )
    urlpatterns += [
        path("accounts/password_reset/", reset, name="password_reset"),
        path("accounts/", include(reset_urlpatterns)),
    ]
