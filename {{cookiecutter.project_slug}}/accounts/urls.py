"""HTTP paths of accounts{{ ", tokens and tickets" if cookiecutter.auth == "token" }}."""

from django.conf import settings
from django.contrib.auth import views as auth_views
from django.urls import path, reverse_lazy
from django.views.generic import RedirectView

from accounts import {{ "forms, token_views, views" if cookiecutter.auth == "token" else "forms, views" }}

FORM, NOTICE = "accounts/password.html", "accounts/notice.html"

urlpatterns = [
    path("accounts/signup/", views.SignUpView.as_view(), name="signup"),
    path(
        "accounts/login/",
        auth_views.LoginView.as_view(
            template_name="accounts/login.html",
            extra_context={"signup_open": settings.SIGNUP_OPEN},
            redirect_authenticated_user=True,
        ),
        name="login",
    ),
    path("accounts/logout/", auth_views.LogoutView.as_view(), name="logout"),
    path(
        "accounts/password/",
        auth_views.PasswordChangeView.as_view(
            form_class=forms.PasswordChangeForm, template_name=FORM
        ),
        name="password_change",
    ),
    path(
        "accounts/password/changed/",
        auth_views.PasswordChangeDoneView.as_view(
            template_name=NOTICE,
            extra_context={"text": "You stay logged in here, and are logged out elsewhere."},
        ),
        name="password_change_done",
    ),
    # Instead of the admin's own page, which has no throttle.
    path("admin/password_change/", RedirectView.as_view(pattern_name="password_change")),
{% if cookiecutter.auth == "token" %}
    path("accounts/tokens/", token_views.tokens, name="tokens"),
    path("accounts/tokens/<int:pk>/revoke/", token_views.revoke, name="revoke-token"),
    path("api/token/", token_views.token, name="token"),
    path("api/ticket/", token_views.ticket, name="ticket"),
{% endif %}
]

if settings.EMAIL:  # without it, a link cannot be sent
    urlpatterns += [
        path(
            "accounts/reset/",
            auth_views.PasswordResetView.as_view(
                form_class=forms.PasswordResetForm, template_name=FORM
            ),
            name="password_reset",
        ),
        path(
            "accounts/reset/sent/",
            auth_views.PasswordResetDoneView.as_view(
                template_name=NOTICE,
                extra_context={"text": "If an account has this address, a link is on its way."},
            ),
            name="password_reset_done",
        ),
        path(
            "accounts/reset/<uidb64>/<token>/",
            auth_views.PasswordResetConfirmView.as_view(
                template_name=FORM,
                success_url=reverse_lazy("home"),
                post_reset_login=True,
                post_reset_login_backend=settings.AUTHENTICATION_BACKENDS[0],
            ),
            name="password_reset_confirm",
        ),
    ]
