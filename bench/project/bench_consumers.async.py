"""Room with broadcast and without storage."""

from realtime.broadcast import apublish, group_name
from realtime.consumers import RealtimeConsumer


class BenchConsumer(RealtimeConsumer):
    own_channel = False

    async def joined(self):
        self.group = group_name("bench", self.scope["url_route"]["kwargs"]["room"])
        await self.join(self.group)
        await self.send_event({"type": "joined"})

    async def receive_event(self, event):
        await apublish(self.group, {"type": "said", "text": event["text"]})
