"""Consumer of the assistant: the socket of a page that shows a conversation."""

from typing import Any

from assistant.events import parse_ask, parse_job
from assistant.questions import ask, find_conversation, go_on, stop
from realtime.consumers import SyncRealtimeConsumer
from realtime.feeds.events import FeedHistory
from realtime.protocol import Close


class AssistantConsumer(SyncRealtimeConsumer):
    """Socket of the owner of a conversation."""

    own_channel = False  # every event comes through the conversation's feed

    def joined(self) -> None:
        pk = self.scope["url_route"]["kwargs"]["pk"]
        found = find_conversation(self.user_id, pk)
        if found is None:
            self.close(Close.NOT_FOUND)
            return
        self.conversation = found
        self.follow(found.feed, FeedHistory(found.feed))

    def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "ask":
                ask(self.conversation, *parse_ask(event))
            case "stop":
                stop(self.conversation, parse_job(event))
            case "retry":
                go_on(self.conversation, parse_job(event))
            case _:
                super().receive_event(event)
