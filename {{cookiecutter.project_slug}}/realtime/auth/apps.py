"""Application of sign-ins with a password: the table of their failures."""

from django.apps import AppConfig


class AuthConfig(AppConfig):
    name = "realtime.auth"
    label = "realtime_auth"
