"""Form to sign up."""

from django.contrib.auth import get_user_model
from django.contrib.auth.forms import UserCreationForm
from django.forms import EmailInput, TextInput
from django.utils.translation import gettext_lazy

from realtime.auth.forms import NewPasswordMixin


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
