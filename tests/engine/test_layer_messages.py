"""Layer messages of another version, or of another program, do no harm."""

from prometheus_client import REGISTRY

from engine.history import group_of
from realtime import malformed
from realtime.process import get_process

PATH = "/ws/journal/a/"
GROUP = group_of("a")
EVENT = {"type": "realtime.event", "group": GROUP, "seq": None, "text": "{}", "sender": ""}
MALFORMED = [
    {},
    {"type": "realtime.unknown"},
    {**EVENT, "group": 1},
    {**EVENT, "seq": "1"},
    {**EVENT, "text": None},
    {"type": "realtime.users", "group": GROUP, "process": "p", "users": {"1": []}},
    {"type": "realtime.users", "group": GROUP, "process": "p", "users": ["ann"]},
    {"type": "realtime.heartbeat"},
    {"type": "realtime.remove", "user": "1", "group": None},
    {"type": "realtime.disconnect", "user": "ann", "credential": 1},
]


async def test_malformed_layer_messages_are_dropped(visit, monkeypatch, caplog):
    """Members receive nothing of a malformed message. Each one is counted, and one line is logged."""
    monkeypatch.setattr(malformed, "last_line", -malformed.QUIET_SECONDS)
    monkeypatch.setattr(malformed, "dropped", 0)
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    process, before = get_process(), REGISTRY.get_sample_value("realtime_malformed_total") or 0
    for message in MALFORMED:
        await process.layer.send(process.hub.channel, message)
    await ann.send(type="append", ref="a1", text="hi")
    assert (await ann.receive())["ref"] == "a1"
    after = REGISTRY.get_sample_value("realtime_malformed_total") or 0
    assert after - before == len(MALFORMED)
    lines = [line for line in caplog.messages if line.startswith("Malformed")]
    assert lines == ["Malformed layer messages dropped: 1 (unknown type or wrong fields)"]
