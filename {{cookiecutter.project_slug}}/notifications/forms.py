"""Form of the admin that notifies users."""

from django import forms
from django.utils.translation import gettext_lazy

from notifications.models import MAX_TEXT, validate_url


class NotifyForm(forms.Form):
    """Text and URL of a notification."""

    text = forms.CharField(max_length=MAX_TEXT)
    url = forms.CharField(
        label="URL",
        max_length=2000,
        required=False,
        validators=[validate_url],
        help_text=gettext_lazy("A path of this site such as /, or an http or https URL."),
    )
