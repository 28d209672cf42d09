"""Consumer of the assistant: the socket of a page that shows a conversation."""

from typing import Any

from channels.db import database_sync_to_async

from assistant.events import parse_ask, parse_job
from assistant.questions import ask, find_conversation, go_on, stop
from realtime.consumers import RealtimeConsumer
from realtime.feeds.events import FeedHistory
from realtime.protocol import Close


class AssistantConsumer(RealtimeConsumer):
    """Socket of the owner of a conversation."""

    own_channel = False  # every event comes through the conversation's feed

    async def joined(self) -> None:
        pk = self.scope["url_route"]["kwargs"]["pk"]
        found = await database_sync_to_async(find_conversation)(self.user_id, pk)
        if found is None:
            await self.close(Close.NOT_FOUND)
            return
        self.conversation = found
        await self.follow(found.feed, FeedHistory(found.feed))

    async def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "ask":
                await database_sync_to_async(ask)(self.conversation, *parse_ask(event))
            case "stop":
                await database_sync_to_async(stop)(self.conversation, parse_job(event))
            case "retry":
                await database_sync_to_async(go_on)(self.conversation, parse_job(event))
            case _:
                await super().receive_event(event)
