"""Django's view of the logout, for machines that people share."""

from typing import Any

from django.contrib.auth import views
from django.http import HttpRequest, HttpResponse


class LogoutView(views.LogoutView):
    """Django's view. The browser deletes what pages stored, such as names of rooms and texts.

    Browsers do so over HTTPS and on 127.0.0.1.
    """

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().post(request, *args, **kwargs)
        response.headers["Clear-Site-Data"] = '"storage"'
        return response
