"""Consumers of devices: sockets of the list, and of a device's page."""

from channels.db import database_sync_to_async

from devices.models import DEVICES, ReadingHistory, feed_of, find_device
from realtime.consumers import RealtimeConsumer
from realtime.protocol import Close

CHARTED = 300  # readings, for a client without `after`


class DevicesConsumer(RealtimeConsumer):
    """Socket of the list, which sends nothing."""

    own_channel = False  # every event comes through the group

    async def joined(self) -> None:
        await self.join(DEVICES)
        await self.send_event({"type": "welcome", **self.identity})


class DeviceConsumer(RealtimeConsumer):
    """Socket of a device's page, which sends nothing."""

    own_channel = False  # every event comes through the device's group

    async def joined(self) -> None:
        name = self.scope["url_route"]["kwargs"]["name"]
        if await database_sync_to_async(find_device)(name) is None:
            await self.close(Close.NOT_FOUND)
            return
        await self.follow(feed_of(name), ReadingHistory(name), latest=CHARTED)
