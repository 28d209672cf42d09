"""Figures of the sockets: of this process, and of all processes together."""

import time
from collections import Counter

from prometheus_client.metrics import MetricWrapperBase

from realtime import metrics
from realtime.figures.models import fresh_values


class Sampler:
    """Reader of the counters of this process."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.counts = read_counts()

    def sample(self) -> dict[str, float]:
        """Return the open sockets, and what happened a second since the last call."""
        now, counts = time.monotonic(), read_counts()
        seconds = max(now - self.at, 0.001)
        rates = {name: (counts[name] - self.counts[name]) / seconds for name in counts}
        self.at, self.counts = now, counts
        return {"connections": value_of(metrics.CONNECTIONS), **rates}


def read_counts() -> dict[str, float]:
    """Return the counters of this process since its start."""
    return {
        "received": value_of(metrics.RECEIVED, "_total"),
        "sent": value_of(metrics.SENT, "_total"),
        "fanouts": value_of(metrics.FANOUT, "_count"),
        "fanout_seconds": value_of(metrics.FANOUT, "_sum"),
    }


def value_of(metric: MetricWrapperBase, suffix: str = "") -> float:
    """Return a value of a metric without labels."""
    (family,) = metric.collect()
    values = {sample.name: sample.value for sample in family.samples}
    return float(values.get(f"{family.name}{suffix}", 0))


def socket_figures() -> dict[str, float]:
    """Return figures of all processes, in any Django code.

    `connections` are open sockets, `received` and `sent` messages per second, and `latency` is how
    many seconds an event took to reach the members of its group, on average. They are at most two
    seconds old.
    """
    sums: Counter[str] = Counter()
    for values in fresh_values():
        sums.update(values)
    fanouts, seconds = sums.pop("fanouts", 0), sums.pop("fanout_seconds", 0)
    return {
        "connections": sums["connections"],
        "received": sums["received"],
        "sent": sums["sent"],
        "latency": seconds / fanouts if fanouts else 0,
    }
