"""Form to sign up."""

from django.contrib.auth import get_user_model
from django.contrib.auth.forms import UserCreationForm
from django.utils.translation import gettext_lazy


class SignUpForm(UserCreationForm):  # type: ignore[type-arg]
    class Meta(UserCreationForm.Meta):
        model = get_user_model()
        fields = ("username", "display_name", "email")
        labels = {"display_name": gettext_lazy("Display name")}  # noqa: RUF012
        help_texts = {  # noqa: RUF012
            "email": gettext_lazy("For a new password, if you forget yours. Not shown to others.")
        }
