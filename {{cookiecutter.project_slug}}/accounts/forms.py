"""Forms to sign up, and to change the account."""

from django.contrib.auth import get_user_model
from django.contrib.auth.forms import UserCreationForm
from django.core.exceptions import ValidationError
from django.forms import CharField, EmailInput, ModelForm, PasswordInput, TextInput
from django.utils.translation import gettext, gettext_lazy

from realtime.auth.forms import NewPasswordMixin
from realtime.auth.models import Throttle, of_password


class SignUpForm(NewPasswordMixin, UserCreationForm):  # type: ignore[type-arg]
    class Meta(UserCreationForm.Meta):
        model = get_user_model()
        fields = ("username", "display_name", "email")
        labels = {"display_name": gettext_lazy("Display name")}  # noqa: RUF012
        help_texts = {  # noqa: RUF012
            "username": "",
            "display_name": gettext_lazy("Optional. Shown instead of the username."),
            "email": gettext_lazy("Optional, but needed for a new password. Not shown to others."),
        }
        widgets = {  # noqa: RUF012
            "display_name": TextInput({"autocomplete": "nickname"}),
            "email": EmailInput({"autocomplete": "email"}),
        }


class EmailForm(ModelForm):  # type: ignore[type-arg]
    """Form for the address that gets links to a new password, so it needs the current one."""

    current_password = CharField(
        label=gettext_lazy("Password"),
        strip=False,
        widget=PasswordInput({"autocomplete": "current-password"}),
    )

    class Meta:
        model = get_user_model()
        fields = ("email",)
        help_texts = {"email": SignUpForm.Meta.help_texts["email"]}  # noqa: RUF012
        widgets = {"email": SignUpForm.Meta.widgets["email"]}  # noqa: RUF012

    def clean_current_password(self) -> str:
        password: str = self.cleaned_data["current_password"]
        with Throttle.attempt(of_password(self.instance)) as succeed:
            if not self.instance.check_password(password):
                raise ValidationError(gettext("The password is wrong."))
            succeed()
        return password
