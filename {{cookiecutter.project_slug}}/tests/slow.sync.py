"""A consumer that works for a second."""

import time
from typing import Any

from realtime.consumers import SyncRealtimeConsumer


class SlowConsumer(SyncRealtimeConsumer):
    def receive_event(self, event: dict[str, Any]) -> None:
        time.sleep(1)
        self.send_event({"type": "done"})
