"""A consumer written as in any Channels project, with groups and a channel of its own."""

from typing import Any

from asgiref.sync import async_to_sync

from realtime.consumers import SyncRealtimeConsumer


class OrdinaryConsumer(SyncRealtimeConsumer):
    def joined(self) -> None:
        async_to_sync(self.channel_layer.group_add)("news", self.channel_name)
        self.send_event({"type": "joined"})

    def news_item(self, message: dict[str, Any]) -> None:
        self.send_event({"type": "item", "title": message["title"]})

    def disconnect(self, code: int) -> None:
        async_to_sync(self.channel_layer.group_discard)("news", self.channel_name)
