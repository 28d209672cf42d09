"""Consumers of devices: sockets of the list, and of a device's page."""

from typing import Any

from devices.events import parse_look
from devices.models import DEVICES, ReadingHistory, feed_of, find_device, look, state_events
from realtime.consumers import SyncRealtimeConsumer
from realtime.protocol import Close

CHARTED = 300  # readings, for a client without `after`


class DevicesConsumer(SyncRealtimeConsumer):
    """Socket of the list, which asks for the devices that it shows."""

    own_channel = False  # every event comes through the group

    def joined(self) -> None:
        self.join(DEVICES)
        self.send_event({"type": "welcome", **self.identity})

    def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "look":
                self.send_event(look(parse_look(event)))
            case _:
                super().receive_event(event)


class DeviceConsumer(SyncRealtimeConsumer):
    """Socket of a device's page, which sends nothing."""

    own_channel = False  # every event comes through the device's group

    def joined(self) -> None:
        name = self.scope["url_route"]["kwargs"]["name"]
        if find_device(name) is None:
            self.close(Close.NOT_FOUND)
            return
        self.follow(feed_of(name), ReadingHistory(name), latest=CHARTED)
        # Read after the join, so that the socket gets each later change.
        for event in state_events(name):
            self.send_event(event)
