"""Consumers of jobs: the socket of a page, and a channel for what may be lost."""

import logging
from typing import Any

from asgiref.sync import async_to_sync
from channels.consumer import SyncConsumer

from jobs.queries import count_waiting
from jobs.tasks import feed_of
from realtime.broadcast import publish
from realtime.consumers import SyncRealtimeConsumer
from realtime.feeds.events import FeedHistory

REPLAYED = 500  # the latest events, for a client without `after`

logger = logging.getLogger(__name__)


class JobsConsumer(SyncRealtimeConsumer):
    """Socket of one user, which gets the events of all their jobs."""

    own_channel = False  # every event comes through the user's feed

    def joined(self) -> None:
        self.feed = feed_of(self.user_id)
        self.follow(self.feed, FeedHistory(self.feed), latest=REPLAYED)

    def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "estimate":
                message = {"type": "estimate", "feed": self.feed}
                try:
                    async_to_sync(self.channel_layer.send)("estimates", message)
                except Exception as error:  # Redis is down, or no worker reads the channel
                    logger.warning("An estimate is not asked for: %s", error)
            case _:
                super().receive_event(event)


class EstimateConsumer(SyncConsumer):
    """Consumer of the channel `estimates`, run by `manage.py runworker estimates`.

    If none runs, the question is lost, and the page is shown without the answer.
    """

    def estimate(self, message: dict[str, Any]) -> None:
        """Publish the number of jobs that wait."""
        publish(message["feed"], {"type": "estimate", "waiting": count_waiting()})
