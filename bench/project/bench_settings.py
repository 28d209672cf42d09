"""The project's own settings; without its limits, unless BENCH_LIMITS is set."""

import os

from config.settings import *  # noqa: F403

if not os.environ.get("BENCH_LIMITS"):
    REALTIME_MAX_CONNECTIONS = 1_000_000  # per user
    REALTIME_RATE = 1_000_000  # frames per second of a connection
    REALTIME_BURST = 1_000_000
