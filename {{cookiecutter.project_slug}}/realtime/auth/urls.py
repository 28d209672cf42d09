"""Django's pages for sign-in and passwords, throttled. Names and templates are Django's."""

from django.contrib.auth import views
from django.urls import path

from realtime.auth.forms import PasswordChangeForm, PasswordResetForm, SetPasswordForm
from realtime.auth.views import LogoutView
from realtime.conf import settings

urlpatterns = [
    path("login/", views.LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path(
        "password_change/",
        views.PasswordChangeView.as_view(form_class=PasswordChangeForm),
        name="password_change",
    ),
    path(
        "password_change/done/",
        views.PasswordChangeDoneView.as_view(),
        name="password_change_done",
    ),
]

# For sites that can send mails. A new password signs in: an address where others guess the old
# one may have to wait.
reset_urlpatterns = [
    path(
        "password_reset/",
        views.PasswordResetView.as_view(form_class=PasswordResetForm),
        name="password_reset",
    ),
    path(
        "password_reset/done/",
        views.PasswordResetDoneView.as_view(),
        name="password_reset_done",
    ),
    path(
        "reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(
            form_class=SetPasswordForm,
            post_reset_login=True,
            post_reset_login_backend=settings.AUTHENTICATION_BACKENDS[0],
        ),
        name="password_reset_confirm",
    ),
    path("reset/done/", views.PasswordResetCompleteView.as_view(), name="password_reset_complete"),
]
