"""Messages of devices. `docs/devices.md` describes their topics and payloads."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

from realtime.history import MAX_SEQ
from realtime.protocol import is_storable

NAME = r"^[A-Za-z0-9_-]{1,64}\Z"  # of a device
KINDS = ("readings", "status", "answers")
MAX_TEXT = 1000  # characters of a command, and of an answer


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
    """Receipt of a command, if `answer` is None, or the answer to it."""

    device: str
    command: int
    answer: str | None


type DeviceMessage = ReadingMessage | StatusMessage | AnswerMessage


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
        return AnswerMessage(device, parse_id(content, "id"), parse_answer(content))
    return ReadingMessage(
        device, parse_id(content, "number"), parse_value(content), parse_at(content)
    )


def parse_id(content: dict[str, Any], name: str) -> int:
    value = content.get(name)
    if type(value) is not int or not 0 < value <= MAX_SEQ:  # True is an int, too
        raise ValueError(f"`{name}` is not a number above 0")
    return value


def parse_value(content: dict[str, Any]) -> float:
    value = content.get("value")
    try:
        if type(value) in {int, float} and math.isfinite(number := float(value)):  # type: ignore[arg-type]
            return number
    except OverflowError:
        pass
    raise ValueError("`value` is not a finite number")


def parse_at(content: dict[str, Any]) -> datetime | None:
    if "at" not in content:
        return None
    try:
        at = datetime.fromisoformat(content["at"])
        if at.tzinfo:
            return at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("`at` is not a time with its offset")


def parse_answer(content: dict[str, Any]) -> str | None:
    answer = content.get("answer")
    if answer is None or (
        isinstance(answer, str) and len(answer) <= MAX_TEXT and is_storable(answer)
    ):
        return answer
    raise ValueError(f"`answer` is not a text of at most {MAX_TEXT} characters")
