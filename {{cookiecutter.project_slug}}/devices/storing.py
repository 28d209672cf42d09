"""Storing of messages in one transaction, and the events about them."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter

from django.db import DataError, Error, IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from devices.messages import AnswerMessage, DeviceMessage, ReadingMessage, StatusMessage
from devices.models import DEVICES, Device, Reading, State, change_command
from realtime.broadcast import publish, publish_many
from realtime.feeds.models import take_numbers

SHOWN = 50  # values in an event of the list

logger = logging.getLogger(__name__)


def store_messages(messages: Sequence[DeviceMessage]) -> list[DeviceMessage]:
    """Store messages, those that fail alone. Return the ones that are stored.

    Raise the error of a database that is down or not migrated: then none of these is stored.
    """
    try:
        try:
            store(messages)
        except IntegrityError:
            store(messages, sent_before=True)
        return list(messages)
    except Exception as error:
        if isinstance(error, Error) and not isinstance(error, DataError | IntegrityError):
            raise
        if len(messages) == 1:
            logger.exception("A message of device %s cannot be stored", messages[0].device)
            return []
    half = len(messages) // 2
    return [*store_messages(messages[:half]), *store_messages(messages[half:])]


def store(messages: Iterable[DeviceMessage], *, sent_before: bool = False) -> None:
    """Store messages in one transaction, and publish after its commit.

    Raise IntegrityError if a reading was stored before. Skip those if `sent_before`.
    """
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
    with transaction.atomic():
        devices = lock_devices({name for name, _ in readings} | states.keys())
        if sent_before:
            for key in find_known(devices, readings):
                del readings[key]
        store_readings(devices, list(readings.values()))
        store_states(devices, states)
        for answer in sorted(answers, key=attrgetter("command")):  # as other bridges do
            store_answer(answer)


def lock_devices(names: set[str]) -> dict[str, Device]:
    """Return the devices of these names, locked until the commit. Create those that are new.

    They are locked in the order of their names, so that two bridges never wait for each other.
    """
    known = Device.objects.filter(name__in=names)
    missing = names.difference(known.values_list("name", flat=True))
    Device.objects.bulk_create(map(new_device, sorted(missing)), ignore_conflicts=True)
    return {device.name: device for device in known.select_for_update().order_by("name")}


def new_device(name: str) -> Device:
    return Device(name=name)


def find_known(devices: dict[str, Device], keys: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return the devices and numbers of the readings that are stored."""
    numbers: dict[str, list[int]] = {}
    for name, number in keys:
        numbers.setdefault(name, []).append(number)
    known = Q(pk__in=[])
    for name, of_device in numbers.items():
        known |= Q(device=devices[name], number__in=of_device)
    return set(Reading.objects.filter(known).values_list("device__name", "number"))


def store_readings(devices: dict[str, Device], new: list[ReadingMessage]) -> None:
    """Store readings of locked devices, and change the devices' values."""
    if not new:
        return
    counts = Counter(message.device for message in new)
    seqs = take_numbers({devices[name].feed: count for name, count in counts.items()})
    now = timezone.now()
    rows = []
    for name, number, value, at in new:
        device = devices[name]
        seqs[device.feed] += 1
        device.value, device.seen_at = value, now
        fields = {"number": number, "value": value, "at": at or now, "stored_at": now}
        rows.append(Reading(device=device, seq=seqs[device.feed], **fields))
    Reading.objects.bulk_create(rows)
    changed = [devices[name] for name in counts]
    update(changed, "value", "seen_at")
    publish_many((row.device.feed, row.event()) for row in rows)
    values = {device.name: device.value for device in changed[-SHOWN:]}
    publish(DEVICES, {"type": "values", "values": values}, numbered=False)


def update(devices: list[Device], *fields: str) -> None:
    """Store fields of devices. `bulk_update` takes ten times as long."""
    Device.objects.bulk_create(
        devices, update_conflicts=True, unique_fields=["pk"], update_fields=fields
    )


def store_states(devices: dict[str, Device], states: dict[str, bool]) -> None:
    """Store which devices are online. Publish those that changed."""
    changed = [devices[name] for name, state in states.items() if devices[name].is_online != state]
    for device in changed:
        device.is_online, device.seen_at = not device.is_online, timezone.now()
        for group in (DEVICES, device.feed):
            publish(group, device.state_event(), numbered=False)
    update(changed, "is_online", "seen_at")


def store_answer(message: AnswerMessage) -> None:
    """Store that a command was delivered or answered."""
    now, name, key = timezone.now(), message.device, message.command
    before = {State.WAITING, State.SENT}
    change_command(name, key, before, state=State.DELIVERED, delivered_at=now)
    if message.answer is not None:
        answered = {"state": State.ANSWERED, "answer": message.answer, "answered_at": now}
        change_command(name, key, {State.DELIVERED}, **answered)
