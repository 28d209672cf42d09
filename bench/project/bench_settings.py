"""Settings of the project, without limits per user unless BENCH_LIMITS is set."""

import os

from config.settings import *  # noqa: F403
from realtime.conf import Defaults

if not os.environ.get("BENCH_LIMITS"):
    # Limits that the engine adds under such names are lifted as well.
    for name in [name for name in (*globals(), *vars(Defaults)) if name.startswith(("REALTIME_", "CHAT_"))]:
        if {"RATE", "BURST", "CONNECTIONS", "ROOMS"}.intersection(name.split("_")):
            globals()[name] = 1_000_000
