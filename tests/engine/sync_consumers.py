"""Consumers of the suite in sync style, in the order of `async_consumers`."""

import time

from asgiref.sync import async_to_sync
from channels.generic.websocket import WebsocketConsumer

from engine.census import counted
from engine.history import JournalHistory, group_of
from engine.models import append
from realtime.broadcast import publish
from realtime.consumers import SyncRealtimeConsumer
from realtime.feeds import events


class JournalConsumer(SyncRealtimeConsumer):
    """The socket of one reader and author of a journal."""

    own_channel = False

    def joined(self):
        self.journal = self.scope["url_route"]["kwargs"]["journal"]
        self.group = group_of(self.journal)
        history = JournalHistory(self.journal)
        seq = self.join(self.group, history, presence=True)
        self.send_event({"type": "welcome", "user_id": self.user_id, "seq": seq})
        after = self.scope["query_string"].partition(b"after=")[2]
        self.replay(self.group, history, int(after or seq), seq)

    def receive_event(self, event):
        match event["type"]:
            case "append":
                self.append(event["ref"], event["text"])
            case "wave":
                wave = {"type": "wave", "user": self.user_name, "user_id": self.user_id}
                publish(self.group, wave, sender=self.connection.id)
            case _:
                super().receive_event(event)

    def append(self, ref, text):
        entry, new = append(self.journal, self.user_name, ref, text)
        if new:
            publish(self.group, entry.event())
        else:
            self.send_event(entry.event())


class FeedConsumer(SyncRealtimeConsumer):
    """A consumer that follows a feed and appends to it."""

    own_channel = False

    def joined(self):
        self.feed = self.scope["url_route"]["kwargs"]["feed"]
        self.follow(self.feed, events.FeedHistory(self.feed), latest=2, presence=True, feed=self.feed)

    def receive_event(self, event):
        events.append(self.feed, event)


class OrdinaryConsumer(SyncRealtimeConsumer):
    """A consumer as in any Channels project, with groups and a channel of its own."""

    def joined(self):
        async_to_sync(self.channel_layer.group_add)("news", self.channel_name)
        self.send_event({"type": "joined"})

    def news_item(self, message):
        self.send_event({"type": "item", "title": message["title"]})

    def disconnect(self, code):
        async_to_sync(self.channel_layer.group_discard)("news", self.channel_name)


class StreamConsumer(SyncRealtimeConsumer):
    """A consumer that sends until its client has left."""

    def receive_event(self, event):
        with counted():
            while True:
                self.send_event({"type": "more"})
                time.sleep(0.001)  # a client that is slower than this gets 4408


class StreamingMember(StreamConsumer):
    """A consumer that does so without a channel of its own."""

    own_channel = False


class PlainStreamConsumer(WebsocketConsumer):
    """A consumer of Channels itself that does so."""

    def receive(self, text_data=None, bytes_data=None):
        with counted():
            while True:
                self.send(text_data="more")


class SlowConsumer(SyncRealtimeConsumer):
    """A consumer that works on each event for a second, or as long as the event names.

    It accepts after the seconds in its query.
    """

    def connect(self):
        time.sleep(int(self.scope["query_string"] or 0))
        super().connect()

    def receive_event(self, event):
        time.sleep(event.get("seconds", 1))
        self.send_event({"type": "done"})
