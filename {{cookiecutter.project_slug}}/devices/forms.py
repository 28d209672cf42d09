"""Forms of a device's page."""

from django import forms

from devices.models import Command


class CommandForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Command
        fields = ("text",)
        labels = {"text": "Command"}  # noqa: RUF012
        widgets = {"text": forms.TextInput(attrs={"autocomplete": "off"})}  # noqa: RUF012
