"""Forms of private rooms."""

from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.utils.text import capfirst

from chat.names import MAX_NAME, PRIVATE, clean_name

User = get_user_model()
ATTRS = {"autocapitalize": "none", "autocomplete": "off", "dir": "auto"}
LOGIN = User._meta.get_field(User.USERNAME_FIELD).verbose_name  # type: ignore[union-attr]


class NewRoomForm(forms.Form):
    """Name of a new private room, which the user types without its first character."""

    name = forms.CharField(max_length=MAX_NAME - len(PRIVATE), widget=forms.TextInput(ATTRS))

    def clean_name(self) -> str:
        try:
            return clean_name(PRIVATE + clean_name(self.cleaned_data["name"]))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class NewMemberForm(forms.Form):
    """Account that becomes a member, by the text with which it logs in."""

    user = forms.CharField(label=capfirst(LOGIN), max_length=254, widget=forms.TextInput(ATTRS))

    def clean_user(self) -> Any:
        """Return the account. One that is inactive is treated as one that does not exist."""
        login = User.normalize_username(self.cleaned_data["user"])
        user = User.objects.filter(**{User.USERNAME_FIELD: login}, is_active=True).first()
        if user is None:
            raise forms.ValidationError("There is no such account.")
        return user
