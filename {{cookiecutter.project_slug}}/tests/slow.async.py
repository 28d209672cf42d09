"""A consumer that works for a second."""

import time
from typing import Any

from asgiref.sync import sync_to_async

from realtime.consumers import RealtimeConsumer


class SlowConsumer(RealtimeConsumer):
    async def receive_event(self, event: dict[str, Any]) -> None:
        await sync_to_async(time.sleep)(1)
        await self.send_event({"type": "done"})
