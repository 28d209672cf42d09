"""Consumers of the suite in async style, in the order of `sync_consumers`."""

import time

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from engine.census import counted
from engine.history import JournalHistory, group_of
from engine.models import append
from realtime.broadcast import apublish
from realtime.consumers import RealtimeConsumer
from realtime.feeds import events


class JournalConsumer(RealtimeConsumer):
    """The socket of one reader and author of a journal."""

    own_channel = False

    async def joined(self):
        self.journal = self.scope["url_route"]["kwargs"]["journal"]
        self.group = group_of(self.journal)
        history = JournalHistory(self.journal)
        seq = await self.join(self.group, history, presence=True)
        await self.send_event({"type": "welcome", "user_id": self.user_id, "seq": seq})
        after = self.scope["query_string"].partition(b"after=")[2]
        await self.replay(self.group, history, int(after or seq), seq)

    async def receive_event(self, event):
        match event["type"]:
            case "append":
                await self.append(event["ref"], event["text"])
            case "wave":
                wave = {"type": "wave", "user": self.user_name, "user_id": self.user_id}
                await apublish(self.group, wave, sender=self.connection.id)
            case _:
                await super().receive_event(event)

    async def append(self, ref, text):
        entry, new = await database_sync_to_async(append)(self.journal, self.user_name, ref, text)
        if new:
            await apublish(self.group, entry.event())
        else:
            await self.send_event(entry.event())


class FeedConsumer(RealtimeConsumer):
    """A consumer that follows a feed and appends to it."""

    own_channel = False

    async def joined(self):
        self.feed = self.scope["url_route"]["kwargs"]["feed"]
        await self.follow(self.feed, events.FeedHistory(self.feed), latest=2, presence=True, feed=self.feed)

    async def receive_event(self, event):
        await events.aappend(self.feed, event)


class OrdinaryConsumer(RealtimeConsumer):
    """A consumer as in any Channels project, with groups and a channel of its own."""

    async def joined(self):
        await self.channel_layer.group_add("news", self.channel_name)
        await self.send_event({"type": "joined"})

    async def news_item(self, message):
        await self.send_event({"type": "item", "title": message["title"]})

    async def disconnect(self, code):
        await self.channel_layer.group_discard("news", self.channel_name)


class StreamConsumer(RealtimeConsumer):
    """A consumer that sends until its client has left."""

    async def receive_event(self, event):
        with counted():
            while True:
                await self.send_event({"type": "more"})


class StreamingMember(StreamConsumer):
    """A consumer that does so without a channel of its own."""

    own_channel = False


class PlainStreamConsumer(AsyncWebsocketConsumer):
    """A consumer of Channels itself that does so."""

    async def receive(self, text_data=None, bytes_data=None):
        with counted():
            while True:
                await self.send(text_data="more")


class SlowConsumer(RealtimeConsumer):
    """A consumer that works on each event for a second, or as long as the event names.

    It accepts after the seconds in its query.
    """

    async def connect(self):
        await sync_to_async(time.sleep)(int(self.scope["query_string"] or 0))
        await super().connect()

    async def receive_event(self, event):
        await sync_to_async(time.sleep)(event.get("seconds", 1))
        await self.send_event({"type": "done"})
