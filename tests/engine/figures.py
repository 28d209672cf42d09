"""Figures of the suite. Servers tick if ENGINE_TICKER names a feed."""

import os

from realtime.figures.registry import source
from realtime.figures.ticker import tick


@source
def answers():
    return {"Answers": 42}


if feed := os.environ.get("ENGINE_TICKER"):
    tick(feed, lambda: {"type": "tick", "pid": os.getpid()}, keep=60)
