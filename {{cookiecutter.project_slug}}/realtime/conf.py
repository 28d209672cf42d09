"""Settings of the engine, with defaults for those that a project does not set."""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed


class Defaults:
    """Default values. A project overrides one by a setting of the same name."""

    # Sockets
    REALTIME_AUTHENTICATORS: Sequence[str] = ("realtime.auth.sessions.authenticate",)  # first wins
    # Five tabs with two sockets each, and as many that a lost network or a crash left behind.
    REALTIME_MAX_CONNECTIONS = 20  # per user; close with 4409 above this
    REALTIME_MAX_GUESTS = 500  # connections of guests at one address; close with 4409 above this
    REALTIME_RATE: float = 20  # frames per second, user and process; `rate_limited` above this
    REALTIME_BURST = 40  # frames at once
    REALTIME_MAX_REFUSED = 200  # frames above the rate; close with 4429 above this
    REALTIME_MAX_ERRORS = 10  # in a row; close with 4400 at this number
    REALTIME_MAX_MESSAGE_BYTES = 1024 * 1024  # the server cuts the connection above this
    REALTIME_MAX_FRAGMENTS = 1000  # of one message; close with 1009 above this
    REALTIME_MAX_FRAME_BYTES = 64 * 1024  # `too_long` above this
    REALTIME_MAX_OUTBOX = 256  # events that wait for a client; close with 4408 above this
    REALTIME_MAX_OUTBOX_BYTES = 1024 * 1024  # of these events; close with 4408 above this
    REALTIME_MAX_REPLAY_BYTES = 1024 * 1024  # of a replay, and of a page of history
    REALTIME_REPLAY_SECONDS = 30  # to take 64 KiB of a replay; close with 4408 above this
    REALTIME_THREADS = 16  # for sync handlers and queries, each with a database connection

    # Storage
    REALTIME_FEED_DAYS = 365  # `manage.py cleanup` deletes events of feeds after this; 0 keeps all

    # Jobs, with "realtime.work" in INSTALLED_APPS
    REALTIME_JOB_THREADS = 4  # jobs that a worker runs at once
    # A job is taken up again if its worker is silent for this long. It reports five times as often.
    REALTIME_JOB_LEASE: float = 15  # seconds
    REALTIME_JOBS_OPEN = 10  # of a user, waiting or running; `rate_limited` at this number
    REALTIME_JOBS_PER_DAY = 500  # of a user, with retries; `rate_limited` at this number
    REALTIME_JOBS_WAITING = 10_000  # of all users; `rate_limited` at this number
    REALTIME_JOB_RETRIES = 10  # of a job, by its user; `rate_limited` at this number
    REALTIME_JOB_STEPS = 10_000  # of a job, which fails above this
    REALTIME_JOB_ATTEMPTS = 5  # without a step in between, until a lost worker fails the job
    REALTIME_JOB_DAYS = 30  # until `manage.py cleanup` deletes a job that ended; 0: never

    # Sign-in with a password. Above a limit, each further attempt doubles the wait before the next.
    REALTIME_MAX_NAME_FAILURES = 10  # of one user name
    REALTIME_MAX_ADDRESS_FAILURES = 30  # of an address, which many may share; so do sign-ups
    REALTIME_MAX_RESETS = 3  # mails with a link to an address

    # Server
    SERVER = "uvicorn"
    HOST = "127.0.0.1"
    PORT = 8000
    WEB_CONCURRENCY = 1  # processes
    MACHINES = 1
    SERVER_MAX_HEAD_BYTES = 32 * 1024  # request line and headers; 431 above this
    SERVER_HEAD_SECONDS = 10  # from the first byte of a request to the end of its headers
    SERVER_MAX_BODY_BYTES = 1024 * 1024  # 413 above this
    SERVER_BODY_SECONDS = 30  # from the end of the headers to the end of the body
    SERVER_IDLE_SECONDS = 5  # close a connection that starts no request for this long
    SERVER_PING_SECONDS = 20  # between pings; drop a WebSocket that answers none for this long
    TLS_CERTFILE: str | None = None
    TLS_KEYFILE: str | None = None

    # Network
    ALLOWED_ORIGINS: Sequence[str] | None = None  # None: the origin of the handshake's own host
    FORWARDED_ALLOW_IPS: Sequence[Any] = ()  # networks of trusted proxies
    REDIS_HOSTS: Sequence[Any] = ()  # as channels_redis takes them; empty: no Redis
    REDIS_PREFIX = "realtime"  # sites that share a Redis each need their own
    MQTT: Any = None  # broker, as `Environment.mqtt()` returns it

    # Apps that `startconsumer` writes
    REALTIME_CONSUMERS = "async"  # or "sync"
    REALTIME_TICKETS = ""  # static file with `withTicket()`, if sockets of pages need tickets

    # Operation
    METRICS_TOKEN = ""
    LOG_LEVEL = 20


class Settings:
    """Settings of the project, then the defaults. Names of Django's own settings work too."""

    def __getattr__(self, name: str) -> Any:
        if not hasattr(Defaults, name):
            return getattr(django_settings, name)
        value = getattr(django_settings, name, getattr(Defaults, name))
        self.__dict__[name] = value  # until the setting changes
        return value

    def forget(self, *, setting: str, **_: Any) -> None:
        self.__dict__.pop(setting, None)


if TYPE_CHECKING:

    class TypedSettings(Defaults):
        def __getattr__(self, name: str) -> Any: ...

    settings = TypedSettings()
else:
    settings = Settings()
    setting_changed.connect(settings.forget)


def session_store() -> Any:
    """Return the class of sessions that SESSION_ENGINE names."""
    return import_module(settings.SESSION_ENGINE).SessionStore
