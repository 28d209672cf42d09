"""Form of a device's page."""

from django import forms
from django.utils.translation import gettext_lazy

from devices.messages import MAX_TEXT


class CommandForm(forms.Form):
    text = forms.CharField(
        label=gettext_lazy("Command"),
        max_length=MAX_TEXT,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
