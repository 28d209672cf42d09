"""Settings of the baked project, with the suite's app in place of the project's own."""

import os

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

# The admin's migrations need a user model that has some, too.
OWN = {"realtime.auth", "realtime.feeds", "realtime.figures", "realtime.work"}
OTHERS = {"accounts", "chat", "django.contrib.admin", *OWN}
INSTALLED_APPS = [app for app in INSTALLED_APPS if app not in OTHERS]
INSTALLED_APPS += [*sorted(OWN), "engine"]
TASKS = {"default": {"BACKEND": "realtime.work.backend.JobBackend"}}
AUTH_USER_MODEL = os.environ.get("ENGINE_USER_MODEL", "auth.User")
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "realtime.middleware.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "engine.urls"
ASGI_APPLICATION = "engine.asgi.application"
SESSION_ENGINE = "django.contrib.sessions.backends.db"
REALTIME_AUTHENTICATORS = ["realtime.auth.sessions.authenticate"]
RETENTION_DAYS = 30
