"""Forms to sign up, and for passwords."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.auth import forms, get_user_model

from accounts.models import SignInAttempt
from realtime.auth.throttle import address_of

mails = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mails")


class SignUpForm(forms.UserCreationForm):  # type: ignore[type-arg]
    class Meta(forms.UserCreationForm.Meta):
        model = get_user_model()
        fields = ("username", "display_name", "email")
        help_texts = {"email": "For a new password, if you forget yours. Not shown to others."}  # noqa: RUF012


class PasswordChangeForm(forms.PasswordChangeForm):
    """Django's form, throttled against guesses in a browser that was left open."""

    def clean_old_password(self) -> str:
        key = f"password of {self.user.pk}"
        with SignInAttempt.attempt({key: SignInAttempt.NAME_LIMIT}) as succeed:
            password: str = super().clean_old_password()
            succeed()
        return password


class PasswordResetForm(forms.PasswordResetForm):
    """Django's form with a limit of mails. The answer takes as long without an account."""

    def save(self, *args: Any, **options: Any) -> None:
        keys = {f"reset {self.cleaned_data['email'].casefold()}": SignInAttempt.RESET_LIMIT}
        if address := address_of(options.get("request")):
            keys[f"resets from {address}"] = SignInAttempt.ADDRESS_LIMIT
        with SignInAttempt.attempt(keys):
            super().save(*args, **options)

    def send_mail(self, *args: Any, **options: Any) -> None:
        mails.submit(super().send_mail, *args, **options)
