"""Consumers of devices: sockets of the list, and of a device's page."""

from devices.models import DEVICES, ReadingHistory, feed_of, find_device
from realtime.consumers import SyncRealtimeConsumer
from realtime.protocol import Close

CHARTED = 300  # readings, for a client without `after`


class DevicesConsumer(SyncRealtimeConsumer):
    """Socket of the list, which sends nothing."""

    own_channel = False  # every event comes through the group

    def joined(self) -> None:
        self.join(DEVICES)
        self.send_event({"type": "welcome", **self.identity})


class DeviceConsumer(SyncRealtimeConsumer):
    """Socket of a device's page, which sends nothing."""

    own_channel = False  # every event comes through the device's group

    def joined(self) -> None:
        name = self.scope["url_route"]["kwargs"]["name"]
        if find_device(name) is None:
            self.close(Close.NOT_FOUND)
            return
        self.follow(feed_of(name), ReadingHistory(name), latest=CHARTED)
