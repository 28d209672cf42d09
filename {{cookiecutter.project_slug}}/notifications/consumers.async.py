"""Consumer of the bell: the user's unread notifications, new ones, and what is read elsewhere."""

from typing import Any

from channels.db import database_sync_to_async

from notifications.events import parse_read
from notifications.models import count_unread, feed_of, mark_read
from realtime.consumers import RealtimeConsumer
from realtime.feeds.events import FeedHistory
from realtime.history import parse_after
from realtime.protocol import EventError


class NotificationsConsumer(RealtimeConsumer):
    """Socket of one page of a user."""

    own_channel = False  # every event comes through the user's group

    async def joined(self) -> None:
        feed = feed_of(self.user_id)
        history = FeedHistory(feed)
        await self.join(feed, history)
        seq, unread = await database_sync_to_async(count_unread)(self.user.pk)
        await self.send_event({"type": "welcome", **self.identity, "seq": seq, "unread": unread})
        try:
            after = parse_after(self.scope["query_string"])
        except EventError as error:
            await self.send_event(error.event())
            after = None
        # A page without a list needs the count only.
        await self.replay(feed, history, seq if after is None else after, seq)

    async def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "read":
                await database_sync_to_async(mark_read)(self.user.pk, *parse_read(event))
            case _:
                await super().receive_event(event)
