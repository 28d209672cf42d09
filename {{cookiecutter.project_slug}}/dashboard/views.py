"""Page of the dashboard. The figures come through the socket."""

{% if cookiecutter.auth != "none" %}
from django.contrib.auth.decorators import login_not_required, user_passes_test
{% endif %}
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
{% if cookiecutter.auth != "none" %}

from dashboard.access import may_watch
{% endif %}


{% if cookiecutter.auth != "none" %}
@login_not_required
@user_passes_test(may_watch)
{% endif %}
@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the page{{ ", or let others sign in as staff" if cookiecutter.auth != "none" }}."""
    return render(request, "dashboard/dashboard.html")
