"""Django's forms for passwords, throttled, and with one line of help."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.auth import forms
from django.contrib.auth.password_validation import (
    MinimumLengthValidator,
    get_default_password_validators,
)
from django.forms import BaseForm
from django.utils import translation

from realtime.auth.models import Throttle, of_address, of_password
from realtime.conf import settings

mails = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mails")


class NewPasswordMixin(forms.SetPasswordMixin, BaseForm):  # type: ignore[type-arg]
    """Part of a form with a new password: help on its length. Errors explain the other rules.

    Both password fields are empty after an error, so it stands at the first. The first invalid
    field has the focus.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        validators = get_default_password_validators()
        lengths = [rule for rule in validators if isinstance(rule, MinimumLengthValidator)]
        for name, field in self.fields.items():
            if name.endswith("password1"):
                field.help_text = " ".join(rule.get_help_text() for rule in lengths)
            elif name.endswith("password2"):
                field.help_text = ""

    def full_clean(self) -> None:
        super().full_clean()
        invalid = [field for name, field in self.fields.items() if name in self.errors]
        for field in invalid and self.fields.values():
            field.widget.attrs["autofocus"] = field is invalid[0]

    def validate_passwords(self, first: str = "password1", second: str = "password2") -> None:
        super().validate_passwords(second, first)

    def validate_password_for_user(self, user: Any, field: str = "password2") -> None:
        super().validate_password_for_user(user, field.replace("2", "1"))


class SetPasswordForm(NewPasswordMixin, forms.SetPasswordForm):  # type: ignore[type-arg]
    """Django's form, which the link of a mail opens."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["new_password1"].widget.attrs["autofocus"] = True


class PasswordChangeForm(NewPasswordMixin, forms.PasswordChangeForm):
    """Django's form, throttled against guesses in a browser that was left open."""

    def clean_old_password(self) -> str:
        with Throttle.attempt(of_password(self.user)) as succeed:
            password: str = super().clean_old_password()
            succeed()
        return password


class PasswordResetForm(forms.PasswordResetForm):
    """Django's form with a limit of mails. The answer takes as long without an account."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["email"].widget.attrs["autofocus"] = True

    def save(self, *args: Any, **options: Any) -> None:
        email = f"reset {self.cleaned_data['email'].casefold()}"
        limits = of_address(options.get("request"), "resets")
        with Throttle.attempt({email: settings.REALTIME_MAX_RESETS, **limits}):
            super().save(*args, **options)

    def send_mail(self, *args: Any, **options: Any) -> None:
        send = translation.override(translation.get_language())(super().send_mail)
        mails.submit(send, *args, **options)
