"""Storing of messages in one transaction, and the events about them."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from devices.commands import store_answer
from devices.messages import AnswerMessage, DeviceMessage, ReadingMessage, StatusMessage
from devices.models import CHANGED, DEVICES, Device, Reading
from realtime.broadcast import publish, publish_many
from realtime.feeds.models import take_numbers

type Devices = dict[str, Device]  # by their names


@transaction.atomic
def store_messages(messages: Iterable[DeviceMessage]) -> None:
    """Store messages, and publish after the commit. Skip readings that are stored already."""
    readings: dict[tuple[str, int], ReadingMessage] = {}
    states: dict[str, bool] = {}
    answers = []
    for message in messages:
        match message:
            case ReadingMessage():
                readings.setdefault((message.device, message.number), message)
            case StatusMessage():
                states[message.device] = message.is_online
            case AnswerMessage():
                answers.append(message)
    devices = lock_devices({name for name, _ in readings} | states.keys())
    for key in find_known(devices, readings):
        del readings[key]
    for device in devices.values():
        if device.seen_at is None:  # new, or deleted while it was connected
            states.setdefault(device.name, True)
    store_readings(devices, readings.values())
    store_states(devices, states)
    # `bulk_update` takes ten times as long.
    fields = ("value", "number", "is_online", "seen_at")
    Device.objects.bulk_create(
        devices.values(), update_conflicts=True, unique_fields=["pk"], update_fields=fields
    )
    for answer in sorted(answers, key=lambda answer: answer.command):  # as other bridges do
        store_answer(answer)


def lock_devices(names: set[str]) -> Devices:
    """Return the devices of these names, locked until the commit. Create those that are new.

    They are locked in the order of their names, so that two bridges never wait for each other.
    """
    known = Device.objects.filter(name__in=names)
    new = names.difference(known.values_list("name", flat=True))
    Device.objects.bulk_create([Device(name=name) for name in sorted(new)], ignore_conflicts=True)
    devices = {device.name: device for device in known.select_for_update().order_by("name")}
    return devices if len(devices) == len(names) else lock_devices(names)  # one was deleted


def find_known(devices: Devices, keys: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return the devices and numbers of the readings that are stored."""
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for name, number in keys:
        if number <= devices[name].number:
            numbers[name].append(number)
    if not numbers:
        return set()
    known = Q()
    for name, of_device in numbers.items():
        known |= Q(device=devices[name], number__in=of_device)
    return set(Reading.objects.filter(known).values_list("device__name", "number"))


def store_readings(devices: Devices, new: Iterable[ReadingMessage]) -> None:
    """Store readings of locked devices, and change the devices."""
    seqs = take_numbers(Counter(devices[message.device].feed for message in new))
    now = timezone.now()
    rows = []
    for name, number, value, at in new:
        device = devices[name]
        seqs[device.feed] += 1
        device.value, device.number = value, max(number, device.number)
        device.seen_at = now
        fields = {"number": number, "value": value, "at": at or now, "stored_at": now}
        rows.append(Reading(device=device, seq=seqs[device.feed], **fields))
    if not rows:
        return
    Reading.objects.bulk_create(rows)
    publish_many((row.device.feed, row.event()) for row in rows)
    values = {row.device.name: row.value for row in rows}
    publish(DEVICES, {"type": "values", "values": values}, numbered=False)


def store_states(devices: Devices, states: dict[str, bool]) -> None:
    """Change the devices that came or went. Let pages read again what they show."""
    changed = [devices[name] for name, state in states.items() if devices[name].is_online != state]
    for device in changed:
        device.is_online, device.seen_at = not device.is_online, timezone.now()
    if changed:
        groups = [DEVICES, *(device.feed for device in changed)]
        publish_many(((group, CHANGED) for group in groups), numbered=False)
