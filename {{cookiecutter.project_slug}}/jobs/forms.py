"""Forms of the jobs page."""

from django import forms

MAX_CHAPTERS = 100


class ReportForm(forms.Form):
    """Report to prepare. `key` is that of the page, so that a double click starts one job."""

    chapters = forms.IntegerField(min_value=1, max_value=MAX_CHAPTERS, initial=12)
    key = forms.CharField(max_length=36, widget=forms.HiddenInput)
