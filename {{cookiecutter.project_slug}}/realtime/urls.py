"""Health for operators and load balancers."""

from django.urls import path

from realtime import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]
