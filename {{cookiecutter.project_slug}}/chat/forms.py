"""Forms of private rooms."""

from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_lazy

from chat.names import MAX_NAME, PRIVATE, validate_name

User = get_user_model()


class NewRoomForm(forms.Form):
    """Name of a new private room, which the user types without its first character."""

    name = forms.CharField(
        max_length=MAX_NAME - len(PRIVATE),
        validators=[validate_name],
        widget=forms.TextInput({"dir": "auto"}),
    )


class NewMemberForm(forms.Form):
    """Account that becomes a member, by the text with which it logs in."""

    user = forms.CharField(
        label=capfirst(User._meta.get_field(User.USERNAME_FIELD).verbose_name),  # type: ignore[union-attr]
        max_length=254,
        help_text=gettext_lazy("What they log in with. Others may see another name."),
        widget=forms.TextInput({"autocapitalize": "none", "autocomplete": "off", "dir": "auto"}),
    )

    def clean_user(self) -> Any:
        """Return the account. One that is inactive is treated as one that does not exist."""
        login = User.normalize_username(self.cleaned_data["user"])
        user = User.objects.filter(**{User.USERNAME_FIELD: login}).first()
        if user is None or not user.is_active:
            raise forms.ValidationError(gettext("There is no such account."))
        return user
