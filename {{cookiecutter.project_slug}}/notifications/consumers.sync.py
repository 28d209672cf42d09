"""Consumer of the bell: the user's unread notifications, new ones, and what is read elsewhere."""

from typing import Any

from notifications.events import parse_read
from notifications.models import count_unread, feed_of, mark_read
from realtime.consumers import SyncRealtimeConsumer
from realtime.feeds.events import FeedHistory
from realtime.history import parse_after
from realtime.protocol import EventError


class NotificationsConsumer(SyncRealtimeConsumer):
    """Socket of one page of a user."""

    own_channel = False  # every event comes through the user's group

    def joined(self) -> None:
        feed = feed_of(self.user_id)
        history = FeedHistory(feed)
        self.join(feed, history)
        seq, unread = count_unread(self.user.pk)
        self.send_event({"type": "welcome", **self.identity, "seq": seq, "unread": unread})
        try:
            after = parse_after(self.scope["query_string"])
        except EventError as error:
            self.send_event(error.event())
            after = None
        # A page without a list needs the count only.
        self.replay(feed, history, seq if after is None else after, seq)

    def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "read":
                mark_read(self.user.pk, *parse_read(event))
            case _:
                super().receive_event(event)
