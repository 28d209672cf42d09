"""Room with broadcast and without storage."""

from realtime.broadcast import group_name, publish
from realtime.consumers import SyncRealtimeConsumer


class BenchConsumer(SyncRealtimeConsumer):
    own_channel = False

    def joined(self):
        self.group = group_name("bench", self.scope["url_route"]["kwargs"]["room"])
        self.join(self.group)
        self.send_event({"type": "joined"})

    def receive_event(self, event):
        publish(self.group, {"type": "said", "text": event["text"]})
