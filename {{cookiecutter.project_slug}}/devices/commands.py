"""Commands to devices, from the page to the answer."""

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from devices.messages import AnswerMessage
from devices.models import CHANGED, Command, Device, State, feed_of
from realtime.broadcast import publish

RETRY = timedelta(seconds=10)  # until a command that was not delivered is sent again
MOST = 100  # sent at once


def send_command(device: Device, text: str, user_name: str) -> Command:
    """Store a command, which the bridge sends within a second if the device is online."""
    command = Command.objects.create(device=device, text=text, user_name=user_name)
    publish(device.feed, CHANGED, numbered=False)
    return command


def take_commands() -> list[Command]:
    """Return the commands to send now. No other bridge gets them until it is time to retry."""
    now = timezone.now()
    due = Q(sent_at=None) | Q(sent_at__lt=now - RETRY)
    waiting = Command.objects.filter(due, state=State.WAITING, device__is_online=True)
    return [
        command
        for command in waiting.select_related("device").order_by("pk")[:MOST]
        if Command.objects.filter(pk=command.pk, sent_at=command.sent_at).update(sent_at=now)
    ]


def store_answer(message: AnswerMessage) -> None:
    """Store that a command was delivered, or the answer to it."""
    command = Command.objects.filter(pk=message.command, device__name=message.device)
    if message.answer:
        unanswered = command.exclude(state=State.ANSWERED)
        changed = unanswered.update(state=State.ANSWERED, answer=message.answer)
    else:
        changed = command.filter(state=State.WAITING).update(state=State.DELIVERED)
    if changed:
        publish(feed_of(message.device), CHANGED, numbered=False)
