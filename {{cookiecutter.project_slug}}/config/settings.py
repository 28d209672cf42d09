"""Settings, from the environment. `.env.example` explains each variable."""

import logging
from pathlib import Path

from django.utils.text import slugify
from environs import validate

{% if cookiecutter.django_version == "5.2" and cookiecutter.auth != "none" %}
from realtime.environment import (
    Environment,
    check_certificate,
    check_development,
    check_processes,
    email_settings,
)
{% else %}
from realtime.environment import Environment, check_certificate, check_development, check_processes
{% endif %}
from realtime.layers import channel_layers
from realtime.logs import logging_config
from realtime.servers import SERVERS

BASE_DIR = Path(__file__).resolve().parent.parent

# Environment

env = Environment(BASE_DIR)
DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.secret_key("SECRET_KEY", development=DEBUG)
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS", [] if DEBUG else ..., development=DEBUG)
HOST = env.host("HOST", "", development=DEBUG)
PORT = env.int("PORT", 8000, validate=validate.Range(1, 65535))
ALLOWED_ORIGINS = env.origins(
    "ALLOWED_ORIGINS",
    [f"http://{host}:{PORT}" for host in ("127.0.0.1", "localhost")] if DEBUG else ...,
)
FORWARDED_ALLOW_IPS = env.networks("FORWARDED_ALLOW_IPS", ["127.0.0.1", "::1"])
DATABASE = env.database("DATABASE_URL", development=DEBUG)
REDIS_HOSTS = env.redis_hosts("REDIS_URL", [], development=DEBUG)
REDIS_PREFIX = env.redis_prefix("REDIS_PREFIX", env.project_name())
{% if cookiecutter.examples == "all" %}
MQTT = env.mqtt("MQTT_URL", "mqtt://127.0.0.1:1883" if DEBUG else "", development=DEBUG)
{% endif %}
SERVER = env.str("SERVER", "{{ cookiecutter.server }}", validate=validate.OneOf(SERVERS))
WEB_CONCURRENCY = env.int("WEB_CONCURRENCY", 1, validate=validate.Range(1))
MACHINES = env.int("MACHINES", 1, validate=validate.Range(1))
{% if cookiecutter.auth != "none" %}
SIGNUP_OPEN = env.bool("SIGNUP_OPEN", DEBUG)
EMAIL = env.email("EMAIL_URL", "console:", development=DEBUG)
DEFAULT_FROM_EMAIL = env.str("EMAIL_FROM", "webmaster@localhost")
{% endif %}
{% if cookiecutter.examples != "none" %}
{% if cookiecutter.auth != "none" %}
CHAT_OPEN_ROOMS = env.bool("CHAT_OPEN_ROOMS", True)
{% endif %}
MESSAGE_RETENTION_DAYS = env.int("MESSAGE_RETENTION_DAYS", 0, validate=validate.Range(0, 36_500))
{% endif %}
TLS_CERTFILE = env.file("TLS_CERTFILE", None)
TLS_KEYFILE = env.file("TLS_KEYFILE", None)
HSTS_SECONDS = env.int("HSTS_SECONDS", 3600, validate=validate.Range(0))
METRICS_TOKEN = env.token("METRICS_TOKEN", "")
LOG_LEVEL = env.log_level("LOG_LEVEL", logging.INFO)
LOG_FORMAT = env.str("LOG_FORMAT", "line", validate=validate.OneOf(["line", "json"]))
env.seal()
if DEBUG:
    check_development(SECRET_KEY, HOST, ALLOWED_HOSTS)
check_certificate(TLS_CERTFILE=TLS_CERTFILE, TLS_KEYFILE=TLS_KEYFILE)
check_processes(REDIS_HOSTS, WEB_CONCURRENCY=WEB_CONCURRENCY, MACHINES=MACHINES)

# Application

INSTALLED_APPS = [
    "realtime",  # before staticfiles, whose `runserver` has no WebSocket
    "channels",
{% if cookiecutter.examples == "all" %}
    "realtime.feeds",
    "realtime.figures",
    "realtime.work",
{% endif %}
{% if cookiecutter.auth != "none" %}
    "realtime.auth",
    "accounts",  # before the admin, which has templates of the same names
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
{% endif %}
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "servestatic",
{% for app in cookiecutter.__apps.split() %}
    "{{ app }}",
{% endfor %}
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
{% if cookiecutter.django_version == "5.2" %}
    "realtime.middleware.ContentSecurityPolicyMiddleware",
{% else %}
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
{% endif %}
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "realtime.middleware.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
{% if cookiecutter.auth == "none" %}
    "realtime.auth.guests.GuestMiddleware",
{% else %}
    "django.contrib.auth.middleware.AuthenticationMiddleware",
{% if cookiecutter.auth == "token" %}
    "accounts.middleware.BearerMiddleware",
{% endif %}
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "realtime.auth.throttle.TooManyRequestsMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
{% endif %}
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
REALTIME_CONSUMERS = "{{ cookiecutter.consumers }}"  # the style that `startconsumer` writes

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
{% if cookiecutter.auth != "none" %}
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
{% endif %}
            ],
        },
    },
]

# Database and channel layer. The URLs of the environment choose their kinds.

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": DATABASE}
CHANNEL_LAYERS = channel_layers(REDIS_HOSTS, REDIS_PREFIX)
{% if cookiecutter.examples == "all" %}
TASKS = {"default": {"BACKEND": "realtime.work.backend.JobBackend"}}  # run by `manage.py worker`
{% endif %}

{% if cookiecutter.examples != "none" %}
# Limits. `realtime/conf.py` lists those of sockets and requests: override them here.

{% if cookiecutter.examples == "all" %}
ASSISTANT_PROVIDER = "assistant.scripted.Scripted"  # as in assistant/providers.py
ASSISTANT_CONVERSATIONS = 100  # of each user of the assistant; one more is refused
ASSISTANT_DAYS = 365  # `manage.py cleanup` deletes older conversations with the assistant; 0: never
{% endif %}
{% if cookiecutter.examples == "all" and cookiecutter.auth != "none" %}
DASHBOARD_PUBLIC = False  # True shows the dashboard to everybody, and not only to staff
{% endif %}
{% if cookiecutter.examples == "all" %}
DEVICES_PREFIX = "{{ cookiecutter.project_slug }}"  # the first part of the topics of devices
DEVICES_DAYS = 30  # until `manage.py cleanup` deletes a reading
{% endif %}
{% if "notifications" in cookiecutter.__apps.split() %}
NOTIFICATIONS_DAYS = 365  # until `manage.py cleanup` deletes a notification
NOTIFICATIONS_EMAIL_MINUTES = 60  # unread, until `manage.py email_unread` mails it
{% endif %}
CHAT_ROOMS_PER_DAY = 100  # of each user; `rate_limited` above this

{% endif %}
# Sign-in and security

{% if cookiecutter.auth == "none" %}
REALTIME_AUTHENTICATORS = ["realtime.auth.guests.authenticate"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
{% else %}
AUTH_USER_MODEL = "accounts.User"
{% if cookiecutter.auth == "token" %}
REALTIME_AUTHENTICATORS = ["accounts.authentication.authenticate"]
TOKEN_DAYS = 90  # until a token expires
TOKENS_PER_USER = 20  # a new one is refused above this
REALTIME_TICKETS = "accounts/ticket.js"  # opens the sockets of pages
{% endif %}
AUTHENTICATION_BACKENDS = ["realtime.auth.backends.PasswordBackend"]
PASSWORD_HASHERS = ["realtime.auth.hashers.PBKDF2PasswordHasher"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "home"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}Validator"}
    for name in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
]
{% if cookiecutter.django_version == "5.2" %}
globals().update(email_settings(EMAIL))
{% else %}
if EMAIL:
    MAILERS = {"default": EMAIL}
{% endif %}
{% endif %}
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS
# Browsers refuse inline scripts and other sites: docs/troubleshooting.md shows how to allow some.
SECURE_CSP = {
    "default-src": ["'self'"],  # includes WebSockets of this site
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
    "object-src": ["'none'"],
}
# Browsers share the cookies of all ports of 127.0.0.1: name them after the project.
SESSION_COOKIE_NAME = f"{slugify(BASE_DIR.name)}-sessionid"
CSRF_COOKIE_NAME = f"{slugify(BASE_DIR.name)}-csrftoken"
if not DEBUG:
    # If a proxy ends HTTPS, it must overwrite this header. `realtime.proxy` removes it from others.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"(^|/)(healthz|readyz|metrics)$"]
    SECURE_HSTS_SECONDS = HSTS_SECONDS
    # No promise for subdomains, and no preload: both bind other sites of the domain.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    # Browsers accept this prefix from the host itself only, over HTTPS (RFC 6265bis, 4.1.3.2).
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"

# Static files

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
if not DEBUG:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "realtime.storage.StaticStorage"},
    }

# Time and language

LANGUAGE_CODE = "en"  # of visitors whose browsers ask for none of these
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

# Logging

LOGGING = logging_config(
    BASE_DIR, ["config", *INSTALLED_APPS], level=LOG_LEVEL, style=LOG_FORMAT, debug=DEBUG
)
