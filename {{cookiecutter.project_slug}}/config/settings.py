"""Settings, from the environment; `.env.example` explains each variable."""

import logging

from django.utils.text import slugify
from environs import validate

from config.environment import BASE_DIR, check_certificate, env, seal
{% if cookiecutter.channel_layer == "redis" %}
from config.hosts import project_name, redis_hosts
{% endif %}
{% if cookiecutter.database == "sqlite" %}
from config.sqlite import PrivateConnection
{% endif %}

# Environment

DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.secret_key("SECRET_KEY", development=DEBUG)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", [] if DEBUG else ..., subcast=str.strip)
HOST = env.str("HOST", "127.0.0.1")
PORT = env.int("PORT", 8000, validate=validate.Range(1, 65535))
ALLOWED_ORIGINS = env.origins(
    "ALLOWED_ORIGINS",
    [f"http://{host}:{PORT}" for host in ("127.0.0.1", "localhost")] if DEBUG else ...,
)
FORWARDED_ALLOW_IPS = env.networks("FORWARDED_ALLOW_IPS", ["127.0.0.1", "::1"])
DATABASE = env.database("DATABASE_URL", scheme="{{ cookiecutter.database }}")
{% if cookiecutter.channel_layer == "redis" %}
env.add_parser("redis_hosts", redis_hosts)
REDIS_HOSTS = env.redis_hosts("REDIS_URL")
REDIS_PREFIX = env.str(
    "REDIS_PREFIX",
    project_name(),
    validate=validate.Regexp(r"[A-Za-z0-9_.-]+\Z", error="Use letters, digits, -, _ and . only."),
)
WEB_CONCURRENCY = env.int("WEB_CONCURRENCY", 1, validate=validate.Range(1))
{% else %}
WEB_CONCURRENCY = env.int(
    "WEB_CONCURRENCY",
    1,
    validate=validate.Equal(1, error="The in-memory channel layer serves one process only."),
)
{% endif %}
MACHINES = env.int("MACHINES", 1, validate=validate.Range(1))
{% if cookiecutter.auth != "none" %}
SIGNUP_OPEN = env.bool("SIGNUP_OPEN", DEBUG)
{% endif %}
{% if cookiecutter.examples == "chat" %}
MESSAGE_RETENTION_DAYS = env.int("MESSAGE_RETENTION_DAYS", 0, validate=validate.Range(0, 36_500))
{% endif %}
TLS_CERTFILE = env.file("TLS_CERTFILE", None)
TLS_KEYFILE = env.file("TLS_KEYFILE", None)
HSTS_SECONDS = env.int("HSTS_SECONDS", 3600, validate=validate.Range(0))
METRICS_TOKEN = env.str(
    "METRICS_TOKEN",
    "",
    validate=validate.Regexp(
        r"([A-Za-z0-9._~+/=-]{20,})?\Z",
        error="Not 20 or more letters and digits. Make one: "
        'python -c "import secrets; print(secrets.token_urlsafe(32))".',
    ),
)
LOG_LEVEL = env.log_level("LOG_LEVEL", logging.INFO)
LOG_FORMAT = env.str("LOG_FORMAT", "line", validate=validate.OneOf(["line", "json"]))
seal()
check_certificate(TLS_CERTFILE=TLS_CERTFILE, TLS_KEYFILE=TLS_KEYFILE)

# Application

INSTALLED_APPS = [
{% if cookiecutter.server == "daphne" %}
    # Before staticfiles, whose `runserver` it replaces by one that speaks WebSocket.
    "daphne",
{% endif %}
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "servestatic",
    "realtime",
{% if cookiecutter.auth != "none" %}
    "accounts",
{% endif %}
{% if cookiecutter.examples == "chat" %}
    "chat",
{% endif %}
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
    "realtime.middleware.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
{% if cookiecutter.auth == "token" %}
    "accounts.middleware.BearerMiddleware",
{% endif %}
{% if cookiecutter.auth == "none" %}
    "realtime.auth.guests.GuestMiddleware",
{% else %}
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
{% endif %}
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Database

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        **DATABASE,
{% if cookiecutter.database == "postgresql" %}
        # Under ASGI a connection that Django kept would stay with a thread, so a pool keeps them,
        # and looks whether they survived a restart of the database.
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            # Nothing waits for ever: neither for a machine that is gone, nor for a slow query, nor
            # for a lock, behind which others would queue. A migration that takes longer gets an
            # `?options=-c%20statement_timeout=0` in its DATABASE_URL.
            "connect_timeout": 5,
            "tcp_user_timeout": 15_000,
            "options": "-c statement_timeout=30s -c lock_timeout=5s",
            **DATABASE.get("OPTIONS", {}),
            # After the time-out for reconnecting the pool tries again as soon as it is asked.
            "pool": {"min_size": 1, "max_size": 16, "timeout": 5, "reconnect_timeout": 5},
        },
{% else %}
        "NAME": BASE_DIR / DATABASE["NAME"],
        "OPTIONS": {
            # Writers queue at BEGIN instead of failing half-way with "database is locked".
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL;",
            "factory": PrivateConnection,
        },
        # A file, since a database in memory cannot be shared with a server under test.
        "TEST": {"NAME": BASE_DIR / "test.sqlite3"},
{% endif %}
    }
}

# Channel layer

CHANNEL_LAYERS = {
    "default": {
{% if cookiecutter.channel_layer == "redis" %}
        "BACKEND": "realtime.layers.PipelinedRedisChannelLayer",
        "CONFIG": {"hosts": REDIS_HOSTS, "prefix": f"{REDIS_PREFIX}:"},
{% else %}
        "BACKEND": "realtime.layers.QuickInMemoryChannelLayer",
        # One channel carries all groups, for as long as the process lives.
        "CONFIG": {"capacity": 10_000, "group_expiry": 10 * 365 * 24 * 3600},
{% endif %}
    }
}

# Real-time limits

REALTIME_MAX_MESSAGE_BYTES = 1024 * 1024  # the server cuts the connection above it
REALTIME_MAX_FRAGMENTS = 1000  # of one message; 1009 above this
REALTIME_MAX_FRAME_BYTES = 64 * 1024  # refused with `too_long`
REALTIME_MAX_ERRORS = 10  # in a row, then the socket is closed with 4400
REALTIME_MAX_CONNECTIONS = 10  # per user, beyond it 4409
REALTIME_RATE = 20  # frames of a user per second and process, beyond it `rate_limited`
REALTIME_BURST = 40  # frames at once
REALTIME_MAX_REFUSED = 200  # frames beyond the rate, then 4429
REALTIME_MAX_OUTBOX = 256  # events that wait for a slow client, then 4408
REALTIME_MAX_OUTBOX_BYTES = 1024 * 1024  # the size of these events, then 4408
REALTIME_MAX_REPLAY_BYTES = 1024 * 1024  # of a replay, and of a page of history
REALTIME_REPLAY_SECONDS = 30  # for a client to take 64 KiB of a replay, then 4408
REALTIME_THREADS = 16  # for sync handlers and queries, each with a database connection

{% if cookiecutter.examples == "chat" %}
# Chat

CHAT_ROOMS_PER_DAY = 100  # of each user; `rate_limited` above this

{% endif %}
# Server limits

SERVER_MAX_HEAD_BYTES = 32 * 1024  # request line and headers; 431 above this
SERVER_HEAD_SECONDS = 10  # from the first byte of a request to the end of its headers
SERVER_MAX_BODY_BYTES = 1024 * 1024  # 413 above this
SERVER_BODY_SECONDS = 30  # from the end of the headers to the end of the body
SERVER_IDLE_SECONDS = 5  # close a connection that starts no request for this long
SERVER_PING_SECONDS = 20  # between pings; a WebSocket that answers none for this long is dropped
DATA_UPLOAD_MAX_MEMORY_SIZE = SERVER_MAX_BODY_BYTES  # Django's own limit, for forms

# Sign-in and security

{% if cookiecutter.auth == "none" %}
REALTIME_AUTHENTICATORS = ["realtime.auth.guests.authenticate"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
{% else %}
{% if cookiecutter.auth == "token" %}
REALTIME_AUTHENTICATORS = ["accounts.authentication.authenticate"]
{% else %}
REALTIME_AUTHENTICATORS = ["realtime.auth.sessions.authenticate"]
{% endif %}
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "home"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
{% endif %}
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS
SECURE_CSP = {
    "default-src": ["'self'"],  # WebSockets of this site are of 'self' too
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
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SECURE_HSTS_SECONDS = HSTS_SECONDS
    # No promise for the subdomains, nor a preload: both bind other sites of the domain.
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
        "staticfiles": {"BACKEND": "config.storage.StaticStorage"},
    }

# Time and language

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# Logging

OWN_APPS = [app for app in INSTALLED_APPS if (BASE_DIR / app).is_dir()]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "connection": {"()": "realtime.logs.ConnectionFilter"},
        "outage": {"()": "realtime.logs.OutageFilter"},
    },
    "formatters": {
        "line": {
            "()": "realtime.logs.LineFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        },
        "json": {
            "()": "realtime.logs.JSONFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s "
            "%(client)s %(connection)s %(user)s %(room)s",
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "filters": ["connection", "outage"],
            "formatter": LOG_FORMAT,
        }
    },
    "loggers": {
        # LOG_LEVEL=DEBUG is for these only: libraries write headers, cookies and frames there.
        **{name: {"level": LOG_LEVEL} for name in ("config", *OWN_APPS)},
        # SECURITY.md lists its events: LOG_LEVEL does not silence them.
        "security": {"level": "INFO"},
        # At DEBUG it writes the values of every query: texts, session keys, password hashes.
        "django.db.backends": {"level": "INFO"},
        # Under DEBUG a handler of Django's own would write every line again.
        **({"django": {}} if DEBUG else {}),
    },
    "root": {"handlers": ["console"], "level": max(LOG_LEVEL, logging.INFO)},
}
