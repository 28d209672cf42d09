"""A consumer written as in any Channels project, with groups and a channel of its own."""

from typing import Any

from realtime.consumers import RealtimeConsumer


class OrdinaryConsumer(RealtimeConsumer):
    async def joined(self) -> None:
        await self.channel_layer.group_add("news", self.channel_name)
        await self.send_event({"type": "joined"})

    async def news_item(self, message: dict[str, Any]) -> None:
        await self.send_event({"type": "item", "title": message["title"]})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("news", self.channel_name)
