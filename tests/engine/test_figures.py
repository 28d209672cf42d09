"""Reports of processes, their sums, and the figures of apps."""

import time
from datetime import timedelta

import pytest
from django.db.models import F

from realtime import metrics
from realtime.figures import models, registry, sockets
from realtime.figures.models import Report
from realtime.figures.registry import labels, read
from realtime.figures.sockets import Sampler, socket_figures

pytestmark = pytest.mark.django_db


def values(**changed):
    """Return a report."""
    nothing = dict.fromkeys(("connections", "received", "sent", "fanouts", "fanout_seconds"), 0.0)
    return nothing | changed


def test_process_has_one_report():
    """A new report replaces the one before."""
    models.store("a", values(connections=1.0))
    models.store("a", values(connections=2.0))
    models.store("b", values())
    assert Report.objects.count() == 2
    assert sorted(one["connections"] for one in models.fresh_values()) == [0, 2]


def test_sums_are_of_the_processes_that_run():
    """Counts and rates are added up, and the latency is that of all events. A process that is gone counts no more."""
    models.store("a", values(connections=1.0, received=2.0, sent=8.0, fanouts=1.0, fanout_seconds=0.1))
    models.store("b", values(connections=3.0, received=1.0, sent=1.0, fanouts=3.0, fanout_seconds=0.1))
    assert socket_figures() == {"connections": 4, "received": 3, "sent": 9, "latency": pytest.approx(0.05)}
    Report.objects.filter(process="a").update(at=F("at") - timedelta(seconds=6))
    assert socket_figures()["connections"] == 3
    models.delete_old()
    assert Report.objects.count() == 2
    Report.objects.filter(process="a").update(at=F("at") - timedelta(minutes=1))
    models.delete_old()
    assert [report.process for report in Report.objects.all()] == ["b"]


def test_without_a_report_all_is_zero():
    """Nothing is divided by the number of events."""
    assert set(socket_figures().values()) == {0}


def test_sample_has_rates_since_the_last_one(monkeypatch):
    """Counters become rates per second, and open sockets stay a count."""
    now = time.monotonic()
    monkeypatch.setattr(sockets.time, "monotonic", lambda: now)
    sampler, open_before = Sampler(), sockets.value_of(metrics.CONNECTIONS)
    metrics.CONNECTIONS.inc()
    metrics.RECEIVED.inc(4)
    metrics.SENT.inc(10)
    metrics.FANOUT.observe(0.5)
    now += 2
    expected = values(connections=open_before + 1, received=2.0, sent=5.0, fanouts=0.5, fanout_seconds=0.25)
    assert sampler.sample() == pytest.approx(expected)
    metrics.CONNECTIONS.dec()
    now += 1
    assert sampler.sample() == pytest.approx(values(connections=open_before))


def test_apps_have_figures():
    """The module `figures` of each app is imported by itself."""
    assert read()["Answers"] == 42


def test_labels_are_read_once(monkeypatch):
    """A page that names them costs no queries."""
    calls = []
    monkeypatch.setattr(registry, "sources", [lambda: calls.append(1) or {"Answers": 42}])
    labels.cache_clear()
    assert [labels(), labels(), len(calls)] == [("Answers",), ("Answers",), 1]
    labels.cache_clear()
