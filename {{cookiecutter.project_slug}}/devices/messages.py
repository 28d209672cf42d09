"""Messages of devices. `docs/protocol.md` describes their topics and payloads."""

import json
import re
from datetime import datetime
from typing import Any, NamedTuple

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from realtime.history import MAX_SEQ
from realtime.protocol import is_storable

NAME = r"^[A-Za-z0-9_-]{1,64}\Z"  # of a device
MAX_TEXT = 1000  # characters of a command, and of an answer
MAX_VALUE = 1e300  # of a reading, so that a sum of many is finite


def validate_storable(text: str) -> None:
    if not is_storable(text):
        raise ValidationError("Some character cannot be stored.")


def validate_year(at: datetime) -> None:
    if not 1970 <= at.year < 9999:  # others may have no date in another time zone
        raise ValidationError("The year is before 1970 or after 9998.")


NUMBER = forms.IntegerField(min_value=1, max_value=MAX_SEQ)
VALUE = forms.FloatField(min_value=-MAX_VALUE, max_value=MAX_VALUE)
AT = forms.DateTimeField(required=False, validators=[validate_year])
ANSWER = forms.CharField(
    max_length=MAX_TEXT, required=False, strip=False, validators=[validate_storable]
)


class ReadingMessage(NamedTuple):
    """Value that a device measured. `at` is None if the time of storing is to be used."""

    device: str
    number: int
    value: float
    at: datetime | None


class StatusMessage(NamedTuple):
    """Start or end of a device's connection."""

    device: str
    is_online: bool


class AnswerMessage(NamedTuple):
    """Receipt of a command, if `answer` is empty, or the answer to it."""

    device: str
    command: int
    answer: str


type DeviceMessage = ReadingMessage | StatusMessage | AnswerMessage


def topic_of(device: str, kind: str) -> str:
    """Return the topic of a device, or of all devices with `+`."""
    return f"{settings.DEVICES_PREFIX}/{device}/{kind}"


def parse(topic: str, payload: bytes) -> DeviceMessage:
    """Return the message of a topic. Raise ValueError with the reason if it is invalid."""
    device, kind = topic.split("/")[-2:]
    if not re.match(NAME, device):
        raise ValueError("the device has no valid name")
    if kind == "status":
        if payload not in {b"online", b"offline"}:
            raise ValueError("the status is neither online nor offline")
        return StatusMessage(device, payload == b"online")
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ValueError("the payload is not JSON") from error
    if not isinstance(content, dict):
        raise ValueError("the payload is not an object")
    if kind == "answers":
        return AnswerMessage(device, clean(NUMBER, content, "id"), clean(ANSWER, content, "answer"))
    number, value = clean(NUMBER, content, "number"), clean(VALUE, content, "value")
    return ReadingMessage(device, number, value, clean(AT, content, "at"))


def clean(field: forms.Field, content: dict[str, Any], name: str) -> Any:
    value = content.get(name)
    try:
        return field.clean("" if value is None else str(value))
    except ValidationError as error:
        raise ValueError(f"`{name}`: {error.messages[0]}") from error
