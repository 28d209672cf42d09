"""Page of the dashboard. The figures come through the socket."""

{% if cookiecutter.auth != "none" %}
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
{% endif %}
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

{% if cookiecutter.auth != "none" %}
from dashboard.access import may_watch
{% endif %}
from realtime.figures.registry import labels


{% if cookiecutter.auth == "none" %}
@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    return show(request)
{% else %}
@login_not_required
@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the page. Strangers may log in first, and other users get a 403."""
    if may_watch(request.user):
        return show(request)
    if request.user.is_authenticated:
        raise PermissionDenied
    return redirect_to_login(request.path)
{% endif %}


def show(request: HttpRequest) -> HttpResponse:
    """Render the page, with the names of figures in the visitor's language."""
    names = {label: gettext(label) for label in labels()}
    return render(request, "dashboard/dashboard.html", {"names": names})
