"""Health and figures for operators and load balancers, and the translations of scripts."""

from django.urls import path

from realtime import health, metrics, translations

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path(
        "translations/<slug:language>.<slug:version>.js",
        translations.translations,
        name="translations",
    ),
]
