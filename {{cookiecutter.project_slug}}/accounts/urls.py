"""HTTP paths of accounts{{ ", tokens and tickets" if cookiecutter.auth == "token" }}."""

from django.conf import settings
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from accounts import {{ "token_views, views" if cookiecutter.auth == "token" else "views" }}

urlpatterns = [
    path("accounts/signup/", views.SignUpView.as_view(), name="signup"),
    path(
        "accounts/login/",
        LoginView.as_view(
            template_name="accounts/login.html",
            extra_context={"signup_open": settings.SIGNUP_OPEN},
            redirect_authenticated_user=True,
        ),
        name="login",
    ),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
{% if cookiecutter.auth == "token" %}
    path("accounts/tokens/", token_views.tokens, name="tokens"),
    path("accounts/tokens/<int:pk>/revoke/", token_views.revoke, name="revoke-token"),
    path("api/token/", token_views.token, name="token"),
    path("api/ticket/", token_views.ticket, name="ticket"),
{% endif %}
]
