"""Messages of devices, as they are parsed."""

import pytest

from devices.messages import AnswerMessage, ReadingMessage, StatusMessage, parse, topic_of


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"number": 0, "value": 1}',
        b'{"number": true, "value": 1}',
        b'{"number": 9223372036854775808, "value": 1}',
        b'{"number": 1, "value": NaN}',
        b'{"number": 1, "value": 1e999}',
        b'{"number": 1, "value": true}',
        b'{"number": 1, "value": -1e301}',
        b'{"number": 1, "value": 1' + b"0" * 400 + b"}",
        b'{"number": 1, "value": 1, "at": 5}',
        b'{"number": 1, "value": 1, "at": "2026-13-01T00:00:00Z"}',
        b'{"number": 1, "value": 1, "at": "9999-12-31T23:59:59-14:00"}',
        b'{"number": 1, "value": 1, "at": "0001-01-01T00:00:00+14:00"}',
    ],
)
def test_invalid_readings_are_refused(payload: bytes) -> None:
    """The reason is one short line."""
    with pytest.raises(ValueError, match=r"^(`|the payload).{,80}$"):
        parse(topic_of("one", "readings"), payload)


@pytest.mark.parametrize(
    ("name", "kind", "payload"),
    [
        ("no name", "readings", b'{"number": 1, "value": 1}'),
        ("one", "status", b"perhaps"),
        ("one", "answers", b'{"id": "x"}'),
        ("one", "answers", b'{"id": 1, "answer": "' + b"x" * 1001 + b'"}'),
        ("one", "answers", b'{"id": 1, "answer": "\\ud800"}'),
        ("one", "answers", b'{"id": 1, "answer": "\\u0000"}'),
    ],
)
def test_other_invalid_messages_are_refused(name: str, kind: str, payload: bytes) -> None:
    """Names of devices, states and answers are checked, too."""
    with pytest.raises(ValueError, match=r"^(the|`)"):
        parse(topic_of(name, kind), payload)


def test_valid_messages_are_parsed() -> None:
    """Each topic has its kind of message."""
    at = '{"number": 7, "value": 21, "at": "2026-01-01T01:00:00+01:00"}'
    message = parse(topic_of("one", "readings"), at.encode())
    assert isinstance(message, ReadingMessage)
    assert (message[:3], str(message.at)) == (("one", 7, 21.0), "2026-01-01 01:00:00+01:00")
    assert parse(topic_of("one", "status"), b"online") == StatusMessage("one", True)
    assert parse(topic_of("one", "answers"), b'{"id": 3}') == AnswerMessage("one", 3, "")
    answer = parse(topic_of("one", "answers"), b'{"id": 3, "answer": "ok"}')
    assert answer == AnswerMessage("one", 3, "ok")
