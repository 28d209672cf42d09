"""Layer messages of another version, or of somebody else, do no harm."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from chat.models import room_group
from realtime import malformed
from realtime.process import get_process
from tests.conftest import Visit

LOBBY = "/ws/chat/lobby/"
GROUP = room_group("lobby")
EVENT = {"type": "realtime.event", "group": GROUP, "seq": None, "text": "{}", "sender": ""}
MALFORMED: list[dict[str, Any]] = [
    {},
    {"type": "realtime.unknown"},
    {**EVENT, "group": 1},
    {**EVENT, "seq": "1"},
    {**EVENT, "text": None},
    {"type": "realtime.users", "group": GROUP, "process": "p", "users": [[]]},
    {"type": "realtime.heartbeat"},
    {"type": "realtime.disconnect", "user": "ann", "credential": 1},
]


async def test_malformed_layer_messages_are_dropped(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Members receive nothing of them and go on. Each is counted, and one line is logged."""
    monkeypatch.setattr(malformed, "last_line", -malformed.QUIET_SECONDS)
    monkeypatch.setattr(malformed, "dropped", 0)
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    process, before = get_process(), REGISTRY.get_sample_value("realtime_malformed_total") or 0
    for message in MALFORMED:
        await process.layer.send(process.hub.channel, message)
    await ann.send(type="send", ref="a1", text="hi")
    assert (await ann.receive())["ref"] == "a1"
    after = REGISTRY.get_sample_value("realtime_malformed_total") or 0
    assert after - before == len(MALFORMED)
    lines = [line for line in caplog.messages if line.startswith("Malformed")]
    assert lines == ["Malformed layer messages dropped: 1 (unknown type or wrong fields)"]
