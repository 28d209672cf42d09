"""The chat: what people say in a room reaches everybody there, in order, once."""

from typing import Any

from chat.events import parse_after, parse_send
from chat.models import latest_seq, messages_between, room_group, store_message
from realtime.broadcast import publish
from realtime.consumers import RealtimeConsumer
from realtime.protocol import EventError

REPLAY = 500  # messages at most; the rest is fetched over HTTP
GREETING = 50  # the latest messages, for a client that does not say what it has


class ChatConsumer(RealtimeConsumer):
    """The socket of one user in one room."""

    def joined(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        self.group = room_group(self.room)
        # The group before the history: what is said in between comes by both, and goes out once.
        self.join(self.group)
        self.seq = latest_seq(self.room)
        welcome = {"type": "welcome", "room": self.room, "user": self.user_name, "seq": self.seq}
        self.send_event(welcome)
        self.replay(self.first_wanted(), self.seq)

    def first_wanted(self) -> int:
        """The number after which the client wants the messages."""
        after = None
        try:
            after = parse_after(self.scope["query_string"])
        except EventError as error:
            self.refuse(error)
        return max(0, self.seq - GREETING) if after is None else after

    def replay(self, after: int, until: int) -> None:
        """Send what is stored with `after < seq <= until`, or the newest and where the gap is."""
        first = max(after, until - REPLAY)
        if first > after:
            self.send_event({"type": "gap", "after": after, "before": first + 1})
        if first < until:
            for message in messages_between(self.room, first, until):
                self.send_event(message.event())

    def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "send":
                self.say(*parse_send(event))
            case "typing":
                typing = {"type": "typing", "user": self.user_name}
                publish(self.group, typing, sender=self.channel_name)
            case _:
                super().receive_event(event)

    def say(self, ref: str, text: str) -> None:
        """Store a message and send it to all, or answer with the one stored under this `ref`."""
        message, new = store_message(self.room, self.user_name, ref, text)
        if new:
            publish(self.group, message.event())
        else:
            self.send_event(message.event())

    def realtime_event(self, message: dict[str, Any]) -> None:
        """Pass on the next message; what the channel layer lost comes from the database first."""
        seq = message["seq"]
        if seq is None:
            super().realtime_event(message)
        elif seq > self.seq:
            self.replay(self.seq, seq - 1)
            self.seq = seq
            super().realtime_event(message)
