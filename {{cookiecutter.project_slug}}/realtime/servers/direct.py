"""The `write` of a server's transport, lent to the outbox of a connection."""

from collections.abc import Callable
from typing import Any

from realtime.types import Write


class DirectWrites:
    """Mix-in of a server's WebSocket, which lends its transport while the client reads.

    Without it, each member of a group costs a call of the server's `send` for each event. The
    transport is taken back at any change of `state`, and when it is full. `open_write` returns the
    `write` of the transport, or None if a frame would have to wait.
    """

    open_write: Callable[[], Write | None]
    _state: Any = None
    give_back: Callable[[], None] | None = None

    @property
    def state(self) -> Any:
        return self._state

    @state.setter
    def state(self, state: Any) -> None:
        self._state = state
        self.take_back()

    def lend(self, give_back: Callable[[], None]) -> Write | None:
        """Return the `write` of the transport, to be used until `give_back` is called."""
        write = self.open_write()
        if write is not None:
            self.give_back = give_back
        return write

    def take_back(self) -> None:
        if self.give_back is not None:
            give_back, self.give_back = self.give_back, None
            give_back()
