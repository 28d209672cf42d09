"""The chat: what people say in a room reaches everybody there, in order, once."""

from typing import Any

from channels.db import database_sync_to_async

from chat.events import parse_after, parse_send
from chat.models import latest_seq, messages_between, room_group, store_message
from realtime.broadcast import apublish
from realtime.consumers import RealtimeConsumer
from realtime.protocol import EventError

REPLAY = 500  # messages at most; the rest is fetched over HTTP
GREETING = 50  # the latest messages, for a client that does not say what it has


class ChatConsumer(RealtimeConsumer):
    """The socket of one user in one room."""

    async def joined(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        self.group = room_group(self.room)
        # The group before the history: what is said in between comes by both, and goes out once.
        await self.join(self.group)
        self.seq = await database_sync_to_async(latest_seq)(self.room)
        welcome = {"type": "welcome", "room": self.room, "user": self.user_name, "seq": self.seq}
        await self.send_event(welcome)
        await self.replay(await self.first_wanted(), self.seq)

    async def first_wanted(self) -> int:
        """The number after which the client wants the messages."""
        after = None
        try:
            after = parse_after(self.scope["query_string"])
        except EventError as error:
            await self.refuse(error)
        return max(0, self.seq - GREETING) if after is None else after

    async def replay(self, after: int, until: int) -> None:
        """Send what is stored with `after < seq <= until`, or the newest and where the gap is."""
        first = max(after, until - REPLAY)
        if first > after:
            await self.send_event({"type": "gap", "after": after, "before": first + 1})
        if first < until:
            for message in await database_sync_to_async(messages_between)(self.room, first, until):
                await self.send_event(message.event())

    async def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "send":
                await self.say(*parse_send(event))
            case "typing":
                typing = {"type": "typing", "user": self.user_name}
                await apublish(self.group, typing, sender=self.channel_name)
            case _:
                await super().receive_event(event)

    async def say(self, ref: str, text: str) -> None:
        """Store a message and send it to all, or answer with the one stored under this `ref`."""
        store = database_sync_to_async(store_message)
        message, new = await store(self.room, self.user_name, ref, text)
        if new:
            await apublish(self.group, message.event())
        else:
            await self.send_event(message.event())

    async def realtime_event(self, message: dict[str, Any]) -> None:
        """Pass on the next message; what the channel layer lost comes from the database first."""
        seq = message["seq"]
        if seq is None:
            await super().realtime_event(message)
        elif seq > self.seq:
            await self.replay(self.seq, seq - 1)
            self.seq = seq
            await super().realtime_event(message)
