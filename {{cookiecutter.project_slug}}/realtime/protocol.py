"""JSON protocol of all sockets: events, errors, close codes and names of groups."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext

from realtime.conf import settings
from realtime.types import Application, Receive, Scope, Send

TEXT_FRAME = 0x81  # the first byte of a text in one frame
# `json.dumps` would make an encoder for each event.
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Close:
    """Close codes. Applications define those from 4000 on (RFC 6455, section 7.4.2).

    Plain numbers, because daphne accepts no enumeration.
    """

    NORMAL = 1000
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    GOING_AWAY = 4012
    TOO_MANY_ERRORS = 4400
    NOT_SIGNED_IN = 4401
    SIGNED_OUT = 4403
    NOT_FOUND = 4404
    TOO_SLOW = 4408
    TOO_MANY_CONNECTIONS = 4409
    FLOODING = 4429


class EventError(Exception):
    """Refusal of an event. The connection stays open.

    `code` is for programs, `detail` for people. `ref` is the client's reference of the event.
    `retry_after` is the number of seconds after which the client may send the event again.
    """

    def __init__(
        self,
        code: str,
        detail: str | Promise,
        ref: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.ref = ref
        self.retry_after = retry_after

    @property
    def detail(self) -> str:
        """Text for people. A lazy one is in the language of the reader, not of the raising code."""
        return str(self)

    def event(self) -> dict[str, Any]:
        event = {"type": "error", "code": self.code, "detail": self.detail, "ref": self.ref}
        return event if self.retry_after is None else {**event, "retry_after": self.retry_after}


def group_name(kind: str, name: str) -> str:
    """Return a valid group name for a thing of any name. Layers allow few characters."""
    return f"{kind}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def encode(event: Mapping[str, Any]) -> str:
    """Encode an event as the text of one frame. Replace surrogates, which UTF-8 lacks, by "?"."""
    text = ENCODER.encode(event)
    return text if text.isascii() else text.encode(errors="replace").decode()


def frame_of(text: str) -> bytes:
    """Return the frame that a server sends for a text (RFC 6455, section 5.2)."""
    data = text.encode(errors="replace")
    size = len(data)
    if size < 126:
        return bytes((TEXT_FRAME, size)) + data
    if size < 65_536:
        return bytes((TEXT_FRAME, 126)) + size.to_bytes(2) + data
    return bytes((TEXT_FRAME, 127)) + size.to_bytes(8) + data


def size_of(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def check_length(data: bytes) -> None:
    """Raise EventError for a frame above `REALTIME_MAX_FRAME_BYTES`."""
    limit = settings.REALTIME_MAX_FRAME_BYTES
    if len(data) > limit:
        raise EventError(
            "too_long", gettext("A frame has at most %(limit)s bytes.") % {"limit": limit}
        )


def decode(text: str) -> Any:
    """Return the JSON in a text frame. Raise EventError if it is too long or invalid."""
    check_length(text.encode())
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventError("bad_json", "Send one JSON object per frame.") from error


def check_event(content: Any) -> dict[str, Any]:
    """Return an object whose `type` is a string. Raise EventError for other content."""
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
        raise EventError("bad_message", "Send a JSON object with a `type`.", ref_of(content))
    return content


def ref_of(event: object) -> str | None:
    """Return the client's reference of an event: 1 to 64 characters, None if it is invalid."""
    ref = event.get("ref") if isinstance(event, dict) else None
    return ref if isinstance(ref, str) and 1 <= len(ref) <= 64 and is_storable(ref) else None


def is_storable(text: str) -> bool:
    """Return whether a database can store the text: without NUL (PostgreSQL) and surrogates."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def refuse(code: int) -> Application:
    """Return a WebSocket application that accepts, then closes with the given code.

    A close before the accept would be an HTTP 403, and the client would never see the code
    (ASGI specification, WebSocket, "Close - send event").
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": code})

    return application
