"""Clients that a project uses in its tests."""

import pytest

from realtime import testing


async def test_failed_wait_breaks_no_disconnect(visit, monkeypatch):
    """A client whose test waited in vain can be disconnected, or the tests after it would fail too."""
    ann = await visit("/ws/journal/a/")
    await ann.receive_until("welcome")
    monkeypatch.setattr(testing, "TIMEOUT", 0.1)
    with pytest.raises(TimeoutError):
        await ann.receive()
    await ann.disconnect()
