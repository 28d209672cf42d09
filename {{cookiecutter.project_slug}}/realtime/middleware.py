"""Lets balancers and collectors in, which name a process by its address."""

from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.middleware import common

FOR_OPERATORS = {"/healthz", "/readyz", "/metrics"}


class CommonMiddleware(common.CommonMiddleware):
    """Django's own, which wants the host in `ALLOWED_HOSTS`; operators may name any."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path in FOR_OPERATORS else super().process_request(request)
