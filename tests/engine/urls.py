"""The engine's own pages, and one of a visitor."""

from django.http import HttpResponse
from django.urls import include, path

urlpatterns = [path("", include("realtime.urls")), path("", lambda request: HttpResponse("page"), name="home")]
