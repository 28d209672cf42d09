"""Django's forms for passwords, throttled."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.auth import forms

from realtime.auth.models import Throttle, of_address
from realtime.conf import settings

mails = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mails")


class PasswordChangeForm(forms.PasswordChangeForm):
    """Django's form, throttled against guesses in a browser that was left open."""

    def clean_old_password(self) -> str:
        limits = {f"password of {self.user.pk}": settings.REALTIME_MAX_NAME_FAILURES}
        with Throttle.attempt(limits) as succeed:
            password: str = super().clean_old_password()
            succeed()
        return password


class PasswordResetForm(forms.PasswordResetForm):
    """Django's form with a limit of mails. The answer takes as long without an account."""

    def save(self, *args: Any, **options: Any) -> None:
        email = f"reset {self.cleaned_data['email'].casefold()}"
        limits = of_address(options.get("request"), "resets")
        with Throttle.attempt({email: settings.REALTIME_MAX_RESETS, **limits}):
            super().save(*args, **options)

    def send_mail(self, *args: Any, **options: Any) -> None:
        mails.submit(super().send_mail, *args, **options)
