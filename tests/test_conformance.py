"""WebSocket protocol (RFC 6455) over raw sockets, with an echo behind the emitted stack of every server."""

import os
import struct
import time

import pytest
from support.emitted import bake, environ_for, run
from support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, closing, fragments, frame
from support.matrix import CHOICES, PYTHONS, combinations, complete, spread
from support.servers import start_site

FRAGMENTS = 30  # per message at most, within the rate of frames
SPLIT = "κόσμε 👋 ﬁn"

ECHO = """
from channels.generic.websocket import {base}

from realtime.consumers import {engine}


class Echo({base}):
    {define} receive(self, text_data=None, bytes_data=None):
        {wait}self.send(text_data, bytes_data)


class EngineEcho({engine}):
    own_channel = False

    {define} receive_event(self, event):
        {wait}self.send_event(event)

    {define} receive_bytes(self, data):
        {wait}self.send(bytes_data=data)
"""
ROUTES = """
from django.urls import path
from echo import Echo, EngineEcho

websocket_urlpatterns[:0] = [path("ws/echo/", Echo.as_asgi()), path("ws/engine/", EngineEcho.as_asgi())]
"""
STYLES = {
    "async": ("AsyncWebsocketConsumer", "RealtimeConsumer", "async def", "await "),
    "sync": ("WebsocketConsumer", "SyncRealtimeConsumer", "def", ""),
}
SITES = [
    pytest.param(answers, id=answers["server"], marks=pytest.mark.xdist_group(f"conformance-{answers['server']}"))
    for answers in spread(combinations("server"), "consumers")
]


@pytest.fixture(scope="module", params=SITES)
def site(request, cookies_session, environment):
    """A site of guests with two echoes: an ordinary consumer of Channels, and one of the engine."""
    project = bake(cookies_session, **request.param, auth="none")
    base, engine, define, wait = complete("consumers", STYLES)[request.param["consumers"]]
    (project / "echo.py").write_text(ECHO.format(base=base, engine=engine, define=define, wait=wait))
    with (project / "config" / "routing.py").open("a") as routing:
        routing.write(ROUTES)
    with (project / "config" / "settings.py").open("a") as settings:
        settings.write(f"REALTIME_MAX_FRAGMENTS = {FRAGMENTS}\n")
    python = environment(PYTHONS[-1], CHOICES["django_version"][0])
    environ = environ_for(python, LOG_LEVEL="WARNING")
    run([str(python / "bin" / "python"), "manage.py", "migrate", "--verbosity", "0"], project, environ)
    with start_site([str(python / "bin" / "python"), "manage.py", "serve"], project, environ) as site:
        yield site


@pytest.fixture(autouse=True)
def nothing_logged(site):
    """Check that no client causes an error in the log, whatever it sends."""
    before = len(site.log.read_text())
    yield
    assert site.log.read_text()[before:] == ""


@pytest.fixture
def client(site):
    with Client(site) as client:
        yield client


def test_messages_of_every_length_come_back(client):
    """Echo lengths at the borders of the three encodings of a length, and large ones."""
    for length in (0, 1, 125, 126, 127, 128, 65535, 65536, 2**19):
        for opcode, payload in ((TEXT, b"*" * length), (BINARY, os.urandom(length))):
            client.send(frame(opcode, payload))
            assert client.receive() == (opcode, payload)


def test_a_message_may_arrive_byte_by_byte(client):
    """The server waits for the rest of a frame."""
    for byte in frame(TEXT, SPLIT.encode()):
        client.send(bytes([byte]))
        time.sleep(0.001)
    assert client.receive() == (TEXT, SPLIT.encode())


def test_several_messages_may_arrive_at_once(client):
    """The server answers each message, in order."""
    texts = [f"text {number}".encode() for number in range(10)]
    client.send(*(frame(TEXT, text) for text in texts))
    assert [client.receive() for _ in texts] == [(TEXT, text) for text in texts]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_make_one_message(client, opcode):
    """Fragments may be empty, and may split a character."""
    text = SPLIT.encode()
    for pieces in ([text[n : n + 1] for n in range(len(text))], [b"", text, b""], [b"", b"", b""], [text, text]):
        client.send(*fragments(opcode, *pieces))
        assert client.receive() == (opcode, b"".join(pieces))
    large = os.urandom(2**16) if opcode == BINARY else b"x" * 2**16
    client.send(*fragments(opcode, *[large] * 6))
    assert client.receive() == (opcode, large * 6)


def test_control_frames_interleave_with_fragments(client):
    """A ping in the middle of a message is answered before the message."""
    first, middle, last = fragments(TEXT, b"one, ", b"two, ", b"three")
    client.send(first, frame(PING, b"a"), middle, frame(PONG, b"unsolicited"), frame(PING, b"b"))
    assert [client.receive(), client.receive()] == [(PONG, b"a"), (PONG, b"b")]
    client.send(last)
    assert client.receive() == (TEXT, b"one, two, three")


def test_pings_are_answered_with_their_payload(client):
    """Pongs come in the order of the pings, whatever the payload is."""
    payloads = [b"", b"hello", os.urandom(125), b"\xff\x00\xfe", *(b"%d" % number for number in range(10))]
    client.send(*(frame(PING, payload) for payload in payloads))
    assert [client.receive() for _ in payloads] == [(PONG, payload) for payload in payloads]


def test_unsolicited_pongs_are_ignored(client):
    """A pong is ignored, with a payload or without."""
    client.send(frame(PONG), frame(PONG, b"x"), frame(TEXT, b"after"))
    assert client.receive() == (TEXT, b"after")


@pytest.mark.parametrize(
    "data",
    [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a surrogate
        b"\xc0\xaf",  # an overlong form
        b"\xf4\x90\x80\x80",  # above U+10FFFF
        b"\x80",
        b"abc\xff",
        b"\xce",  # half a character
    ],
)
def test_invalid_utf8_closes_with_1007(site, data):
    """Invalid text ends the connection, in one frame or split over several."""
    for frames in ([frame(TEXT, data)], fragments(TEXT, data[:1], data[1:]), fragments(TEXT, b"good", data, b"")):
        with Client(site) as client:
            client.send(*frames)
            assert client.end() == 1007


def test_invalid_utf8_is_fine_in_binary_messages(client):
    """Only text has to be UTF-8."""
    client.send(*fragments(BINARY, b"\xff", b"\xfe\x80"))
    assert client.receive() == (BINARY, b"\xff\xfe\x80")


VIOLATIONS = {
    **{f"rsv {rsv}": [frame(TEXT, b"x", rsv=rsv)] for rsv in range(1, 8)},
    **{f"rsv {rsv} of a ping": [frame(PING, b"x", rsv=rsv)] for rsv in (1, 7)},
    **{f"opcode {opcode}": [frame(opcode, b"x")] for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "long ping": [frame(PING, b"x" * 126)],
    "long close": [frame(CLOSE, struct.pack("!H", 1000) + b"x" * 124)],
    "fragmented ping": [frame(PING, b"x", fin=False), frame(CONTINUATION, b"y")],
    "fragmented close": [frame(CLOSE, struct.pack("!H", 1000), fin=False)],
    "continuation of nothing": [frame(CONTINUATION, b"x")],
    "continuation after a message": [frame(TEXT, b"x"), frame(CONTINUATION, b"x")],
    "message in a message": [frame(TEXT, b"x", fin=False), frame(TEXT, b"y")],
    "binary in a text message": [frame(TEXT, b"x", fin=False), frame(BINARY, b"y")],
    "unmasked": [frame(TEXT, b"x", masked=False)],
    "close of length 1": [frame(CLOSE, b"\x03")],
    **{
        f"close code {code}": [closing(code)]
        for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations_close_with_1002(client, name):
    """The server sends a close frame and ends the connection."""
    client.send(*VIOLATIONS[name])
    assert client.end() == 1002


def test_an_invalid_reason_is_a_violation(client):
    """The reason of a close frame has to be UTF-8."""
    client.send(closing(1000, b"\xff\xfe"))
    assert client.end() in {1002, 1007}


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
def test_a_close_is_answered(client, code):
    """The server answers with the same code or with 1000, and ends the connection."""
    client.send(closing(code, "bye 👋".encode()), frame(TEXT, b"too late"))
    assert client.end() in {code, 1000}


def test_a_close_without_a_code_is_answered(client):
    """The server answers with or without a code, and ends the connection."""
    client.send(frame(CLOSE))
    assert client.end() in {1005, 1000}


def test_a_close_may_interrupt_a_message(client):
    """Control frames may come between fragments."""
    client.send(frame(TEXT, b"begun", fin=False), closing(1000), frame(CONTINUATION, b"late"))
    assert client.end() == 1000


def test_what_exceeds_the_limit_cuts_the_connection(site):
    """A message above 1 MiB, in one frame or in many, gets 1009 or a disconnect."""
    piece = b"x" * 2**16
    for frames in ([frame(BINARY, piece * 17)], fragments(BINARY, *[piece] * 17)):
        with Client(site) as client:
            client.send(*frames)
            assert client.end() in {1009, None}


def test_a_message_has_a_bounded_number_of_fragments(site):
    """A client within the rate cannot continue a message forever."""
    with Client(site) as client:
        client.send(*fragments(BINARY, *[b"x"] * 20))
        assert client.receive() == (BINARY, b"x" * 20)
    with Client(site) as client:
        client.send(*fragments(BINARY, *[b"x"] * (FRAGMENTS + 5)))
        assert client.end() in {1009, None}


def test_the_engine_hands_over_binary_frames(site):
    """`receive_bytes` has what the client sent, empty or not, and the limits hold for it."""
    with Client(site, "/ws/engine/") as client:
        for data in (b"\x00\xff", b"", os.urandom(2**16)):
            client.send(frame(BINARY, data))
            assert client.receive() == (BINARY, data)
        client.send(frame(TEXT, '{"type":"hello","text":"👋"}'.encode()))
        assert client.receive() == (TEXT, '{"type":"hello","text":"👋"}'.encode())
        client.send(frame(BINARY, b"x" * (2**16 + 1)))
        assert b"too_long" in client.receive()[1]
        client.send(*[frame(BINARY, b"x")] * 60)
        answers = [client.receive() for _ in range(60)]
        assert (BINARY, b"x") in answers
        assert sum(b"rate_limited" in payload for _, payload in answers) > 0
