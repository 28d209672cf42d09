"""Settings of the tutorial's project. TUTORIAL_LAYER and TUTORIAL_FOLDER choose the variant."""

import os
from pathlib import Path

SECRET_KEY = "of a benchmark that accepts local connections only"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(os.environ["TUTORIAL_FOLDER"]) / "db.sqlite3",
        # As in an emitted project, so that both read the same kind of file.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"},
    }
}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Without `socket_timeout` redis-py closes a channel that is quiet for some seconds, and the socket is lost.
HOST = {"address": os.environ.get("REDIS_URL"), "socket_timeout": None}
CHANNEL_LAYERS = {
    "default": {
        "in-memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
        "core": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [HOST]}},
        "pubsub": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [HOST]}},
    }[os.environ.get("TUTORIAL_LAYER", "in-memory")]
}
