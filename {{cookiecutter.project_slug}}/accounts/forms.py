"""Form to sign up."""

from django.contrib.auth import get_user_model
from django.contrib.auth.forms import UserCreationForm


class SignUpForm(UserCreationForm):  # type: ignore[type-arg]
    class Meta(UserCreationForm.Meta):
        model = get_user_model()
        fields = ("username", "display_name", "email")
        help_texts = {"email": "For a new password, if you forget yours. Not shown to others."}  # noqa: RUF012
