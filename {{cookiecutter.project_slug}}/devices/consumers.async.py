"""Consumers of devices: sockets of the list, and of a device's page."""

from typing import Any

from channels.db import database_sync_to_async

from devices.events import parse_look
from devices.models import DEVICES, ReadingHistory, feed_of, find_device, look, state_events
from realtime.consumers import RealtimeConsumer
from realtime.protocol import Close

CHARTED = 300  # readings, for a client without `after`


class DevicesConsumer(RealtimeConsumer):
    """Socket of the list, which asks for the devices that it shows."""

    own_channel = False  # every event comes through the group

    async def joined(self) -> None:
        await self.join(DEVICES)
        await self.send_event({"type": "welcome", **self.identity})

    async def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "look":
                await self.send_event(await database_sync_to_async(look)(parse_look(event)))
            case _:
                await super().receive_event(event)


class DeviceConsumer(RealtimeConsumer):
    """Socket of a device's page, which sends nothing."""

    own_channel = False  # every event comes through the device's group

    async def joined(self) -> None:
        name = self.scope["url_route"]["kwargs"]["name"]
        if await database_sync_to_async(find_device)(name) is None:
            await self.close(Close.NOT_FOUND)
            return
        await self.follow(feed_of(name), ReadingHistory(name), latest=CHARTED)
        # Read after the join, so that the socket gets each later change.
        for event in await database_sync_to_async(state_events)(name):
            await self.send_event(event)
