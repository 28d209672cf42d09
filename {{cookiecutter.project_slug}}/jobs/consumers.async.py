"""Consumers of jobs: the socket of a page, and a channel for what may be lost."""

import logging
from typing import Any

from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async

from jobs.queries import count_waiting
from jobs.tasks import feed_of
from realtime.broadcast import apublish
from realtime.consumers import RealtimeConsumer
from realtime.feeds.events import FeedHistory

REPLAYED = 500  # the latest events, for a client without `after`

logger = logging.getLogger(__name__)


class JobsConsumer(RealtimeConsumer):
    """Socket of one user, which gets the events of all their jobs."""

    own_channel = False  # every event comes through the user's feed

    async def joined(self) -> None:
        self.feed = feed_of(self.user_id)
        await self.follow(self.feed, FeedHistory(self.feed), latest=REPLAYED)

    async def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "estimate":
                message = {"type": "estimate", "feed": self.feed}
                try:
                    await self.channel_layer.send("estimates", message)
                except Exception as error:  # Redis is down, or no worker reads the channel
                    logger.warning("An estimate is not asked for: %s", error)
            case _:
                await super().receive_event(event)


class EstimateConsumer(AsyncConsumer):
    """Consumer of the channel `estimates`, run by `manage.py runworker estimates`.

    If none runs, the question is lost, and the page is shown without the answer.
    """

    async def estimate(self, message: dict[str, Any]) -> None:
        """Publish the number of jobs that wait."""
        waiting = await database_sync_to_async(count_waiting)()
        await apublish(message["feed"], {"type": "estimate", "waiting": waiting})
