"""History of a room, from which the engine replays messages."""

from collections.abc import Iterator, Mapping
from typing import Any

from chat.models import latest_seqs, messages_before
from realtime.history import History


class RoomHistory(History):
    """The key is the room's name."""

    latest = staticmethod(latest_seqs)

    def between(self, after: int, until: int) -> Iterator[Mapping[str, Any]]:
        return (message.event() for message in messages_before(self.key, until + 1, after))
