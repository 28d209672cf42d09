"""Settings of the suite with short times and small limits."""

from engine.settings import *  # noqa: F403

SERVER_HEAD_SECONDS = SERVER_BODY_SECONDS = SERVER_IDLE_SECONDS = SERVER_PING_SECONDS = 1
SERVER_MAX_BODY_BYTES = 64 * 1024
REALTIME_MAX_FRAGMENTS = 5
REALTIME_MAX_MESSAGE_BYTES = 128 * 1024
