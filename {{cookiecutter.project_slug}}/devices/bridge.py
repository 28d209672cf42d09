"""Bridge from the MQTT broker: stores what devices send, and sends commands to them."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import batched

from django.conf import settings

from devices.commands import take_commands
from devices.messages import DeviceMessage, ReadingMessage, parse, topic_of
from devices.storing import store_messages
from realtime.mqtt.bridge import Bridge

NUMBERS = 100  # in one message, which small devices can receive


class DeviceBridge(Bridge):
    """Bridge of the topics of devices."""

    topics = (topic_of("+", "status"),)  # retained
    shared_topics = (topic_of("+", "readings"), topic_of("+", "answers"))

    def __init__(self, name: str) -> None:
        super().__init__(f"{settings.DEVICES_PREFIX}-bridge-{name}")

    parse = staticmethod(parse)

    def store(self, messages: Sequence[DeviceMessage]) -> None:
        """Store messages. Then confirm to the devices which readings are stored."""
        store_messages(messages)
        stored: defaultdict[str, list[int]] = defaultdict(list)
        for message in messages:
            if isinstance(message, ReadingMessage):
                stored[message.device].append(message.number)
        for device, numbers in stored.items():
            for part in batched(numbers, NUMBERS):
                self.publish(topic_of(device, "stored"), {"numbers": list(part)})

    def turn(self) -> None:
        """Send the commands that wait."""
        super().turn()
        for command in take_commands():
            content = {"id": command.pk, "command": command.text}
            self.publish(topic_of(command.device.name, "commands"), content, qos=1)
