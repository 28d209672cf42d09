"""Settings of the tutorial's project; TUTORIAL_LAYER and TUTORIAL_FOLDER choose what is measured."""

import os
from pathlib import Path

SECRET_KEY = "of a benchmark, which nobody else reaches"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(os.environ["TUTORIAL_FOLDER"]) / "db.sqlite3",
        # As an emitted project has it, so that both read from the same kind of file.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"},
    }
}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Without `socket_timeout` redis-py gives up on a channel that is quiet for some seconds, and the socket is lost.
HOST = {"address": os.environ.get("REDIS_URL"), "socket_timeout": None}
CHANNEL_LAYERS = {
    "default": {
        "in-memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
        "core": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [HOST]}},
        "pubsub": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [HOST]}},
    }[os.environ.get("TUTORIAL_LAYER", "in-memory")]
}
