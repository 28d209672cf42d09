"""What holds for every socket, whatever it is for."""

import asyncio
import gc
import json
import threading
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import AnonymousUser
from django.db import InterfaceError, OperationalError
from pytest_django import Settings

from chat.models import Message, room_group, store_message
from realtime.asgi import lifespan
from realtime.connection import ConnectionMiddleware
from realtime.origin import parse_origin
from realtime.process import get_process
from realtime.rate_limit import FrameLimit
from realtime.types import Receive, Scope, Send
from tests.conftest import Visit

LOBBY = "/ws/chat/lobby/"


async def test_ping_is_answered(visit: Visit) -> None:
    """A client can tell whether the connection lives."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    await ann.send(type="ping")
    assert await ann.receive() == {"type": "pong"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad_json"),
        ("", "bad_json"),
        ("[" * 60_000, "bad_json"),
        ("9" * 5000, "bad_json"),
        ("[]", "bad_message"),
        ("null", "bad_message"),
        ("{}", "bad_message"),
        ('{"type": 1}', "bad_message"),
        ('{"type": "realtime_event"}', "unknown_type"),
        ('{"type": "websocket.disconnect"}', "unknown_type"),
        ("x" * (64 * 1024 + 1), "too_long"),
    ],
)
async def test_a_bad_frame_is_refused(visit: Visit, text: str, code: str) -> None:
    """The error says why, and the connection stays open."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    await ann.send_text(text)
    error = await ann.receive()
    assert (error["type"], error["code"], error["ref"]) == ("error", code, None)
    assert await ann.hears_nothing()


async def test_a_binary_frame_is_refused(visit: Visit) -> None:
    """The protocol is text."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    await ann.send_bytes(b"{}")
    assert (await ann.receive())["code"] == "binary"
    assert await ann.hears_nothing()


async def test_who_never_gets_it_right_is_closed(visit: Visit) -> None:
    """Ten errors in a row are 4400; a good event starts the count again."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    for _ in range(2):
        for _ in range(9):
            await ann.send_text("{")
            await ann.receive_until("error")
        assert await ann.hears_nothing()
    for _ in range(10):
        await ann.send_text("{")
    assert await ann.close_code() == 4400


async def test_an_unknown_path_is_closed(visit: Visit) -> None:
    """The client learns that there is nothing, instead of a failed handshake."""
    ann = await visit("/ws/nothing/")
    assert (ann.opened, await ann.close_code()) == (True, 4404)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost:8000", "http://localhost:1", "null"]
)
async def test_a_foreign_page_cannot_connect(
    visit: Visit, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The handshake fails, and the log names the origin and the setting."""
    ann = await visit(LOBBY, headers=[(b"origin", origin.encode())])
    assert not ann.opened
    assert origin in caplog.text
    assert "ALLOWED_ORIGINS" in caplog.text


async def test_the_sites_own_page_connects(visit: Visit, settings: Settings) -> None:
    """An origin of the list is let in."""
    settings.ALLOWED_ORIGINS = ["https://chat.example"]
    assert (await visit(LOBBY, headers=[(b"origin", b"https://chat.example")])).opened


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("https://Chat.example", "https://chat.example"),
        ("https://chat.example:443", "https://chat.example"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_origin_is_read_as_browsers_write_it(value: str, origin: str) -> None:
    """Lower case, and no port where it is the scheme's own."""
    assert parse_origin(value) == origin


@pytest.mark.parametrize(
    "value", ["", "chat.example", "*", "ws://chat.example", "https://chat.example/", "http://a:x"]
)
def test_what_is_no_origin_is_refused(value: str) -> None:
    """A setting that could never match is an error."""
    with pytest.raises(ValueError):
        parse_origin(value)


async def test_one_user_has_ten_connections(visit: Visit) -> None:
    """The eleventh is 4409, until one of them ends; others are not concerned."""
    sockets = [await visit(LOBBY) for _ in range(10)]
    assert await (await visit(LOBBY)).close_code() == 4409
    assert (await (await visit(LOBBY, "bob")).receive())["type"] == "welcome"
    await sockets[0].leave()
    assert (await (await visit(LOBBY)).receive())["type"] == "welcome"


async def test_a_burst_is_let_in_and_a_flood_is_not(visit: Visit) -> None:
    """40 frames at once; the next are refused by their `ref`, and the sender is still there."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    for _ in range(40):
        await ann.send(type="ping")
    await ann.send(type="typing", ref="too many")
    assert [(await ann.receive())["type"] for _ in range(40)] == ["pong"] * 40
    refused = await ann.receive()
    assert (refused["code"], refused["ref"]) == ("rate_limited", "too many")
    await asyncio.sleep(0.2)
    assert await ann.hears_nothing()


async def test_who_floods_on_is_closed(visit: Visit) -> None:
    """With 4429, after 200 frames beyond the limit, which are no errors of the kind of 4400."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    for _ in range(300):
        await ann.send(type="ping")
    events = []
    while (message := await ann.communicator.receive_output(5))["type"] == "websocket.send":
        events.append(json.loads(message["text"]).get("code", "pong"))
    assert message == {"type": "websocket.close", "code": 4429}
    assert events.count("rate_limited") == 200
    assert 40 <= events.count("pong") < 50


async def test_connections_share_the_limit_of_their_user(visit: Visit, settings: Settings) -> None:
    """Another socket is no second limit, and reconnecting is no new burst."""
    settings.REALTIME_RATE = 0.001
    ann, tab, bob = await visit(LOBBY), await visit(LOBBY), await visit(LOBBY, "bob")
    for visitor in (ann, tab, bob):
        await visitor.receive_until("welcome")
    for _ in range(20):
        assert await ann.hears_nothing()
        assert await tab.hears_nothing()
    await ann.leave()
    again = await visit(LOBBY)
    await again.receive_until("welcome")
    for visitor in (tab, again):
        await visitor.send(type="ping")
        assert (await visitor.receive())["code"] == "rate_limited"
    assert await bob.hears_nothing()


async def test_only_the_connection_that_floods_is_closed(visit: Visit, settings: Settings) -> None:
    """The other sockets of its user are told `rate_limited` meanwhile, and stay."""
    settings.REALTIME_MAX_REFUSED = 5
    ann, tab = await visit(LOBBY), await visit(LOBBY)
    await tab.receive_until("welcome")
    for _ in range(100):
        await ann.send(type="ping")
    assert await ann.close_code() == 4429
    await tab.send(type="ping")
    answer = await tab.receive()
    assert answer["type"] == "pong" or answer["code"] == "rate_limited"
    await asyncio.sleep(0.2)
    assert await tab.hears_nothing()


async def test_frames_that_never_become_messages_count(visit: Visit, settings: Settings) -> None:
    """A server counts pings and the like with the limit of the user that it is given."""
    settings.REALTIME_RATE = 0.001
    frames = {"limit": FrameLimit()}
    ann = await visit(LOBBY, extensions={"realtime.frames": frames})
    await ann.receive_until("welcome")
    assert [frames["limit"].allows() for _ in range(41)] == [True] * 40 + [False]
    await ann.send(type="ping")
    assert (await ann.receive())["code"] == "rate_limited"
    assert frames["limit"].refused == 2


async def test_limits_are_kept_no_longer_than_they_matter(settings: Settings) -> None:
    """A user whose bucket is full again is forgotten."""
    settings.REALTIME_RATE = 200

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        while scope["connection"].frame_limit.allows():
            pass

    async def unused(*_: Any) -> Any: ...

    await ConnectionMiddleware(application)(
        {"type": "websocket", "user": AnonymousUser()}, unused, unused
    )
    kept = list(get_process().buckets)
    await asyncio.sleep(1)
    gc.collect()  # frames that an exception refers to may be in a cycle
    assert (len(kept), list(get_process().buckets)) == (1, [])


async def test_a_slow_handler_does_not_delay_the_end(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others see at once that somebody left; what was sent last is stored all the same."""
    storing, released = threading.Event(), threading.Event()

    def store_slowly(*arguments: Any) -> tuple[Message, bool]:
        storing.set()
        released.wait(5)
        return store_message(*arguments)

    monkeypatch.setattr("chat.consumers.store_message", store_slowly)
    ann, bob = await visit(LOBBY), await visit(LOBBY, "bob")
    assert await bob.sees("ann", "bob")
    assert await ann.sees("ann", "bob")
    await ann.send(type="send", ref="a1", text="hi")
    assert await asyncio.to_thread(storing.wait, 5)
    await ann.communicator.send_input({"type": "websocket.disconnect", "code": 1001})
    assert await bob.sees("bob")
    released.set()
    assert (await bob.receive())["text"] == "hi"


async def test_disconnect_is_called_after_a_failure(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Channels itself leaves it out then; a failure of its own is logged."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    monkeypatch.setattr("chat.consumers.parse_send", lambda event: 1 / 0)
    monkeypatch.setattr("chat.consumers.ChatConsumer.disconnect", lambda *_: 1 / 0)
    await ann.send(type="send", ref="a1", text="hi")
    assert await ann.close_code() == 1011
    await ann.communicator.wait(timeout=5)
    assert "ChatConsumer.disconnect failed" in caplog.text


async def test_a_failing_consumer_is_closed_and_leaves_its_groups(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code is 1011, and the group forgets the connection."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    layer: Any = get_channel_layer()
    assert room_group("lobby") in layer.groups
    monkeypatch.setattr("chat.consumers.parse_send", lambda event: 1 / 0)
    await ann.send(type="send", ref="a1", text="hi")
    assert await ann.close_code() == 1011
    await ann.communicator.wait(timeout=5)
    assert room_group("lobby") not in layer.groups


async def test_a_socket_opens_before_it_closes(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client learns why, also when the channel layer is away from the start."""

    async def fail(*_: object) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(get_channel_layer(), "new_channel", fail)
    ann = await visit(LOBBY)
    assert (ann.opened, await ann.close_code()) == (True, 1011)


@pytest.mark.parametrize("error", [InterfaceError, OperationalError])
async def test_a_database_that_is_away_is_no_end(
    error: type[Exception], visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it fails, the sender is told, and may send the same again."""

    def fail(*_: str) -> None:
        raise error("away")

    ann = await visit(LOBBY)
    await ann.receive_until("welcome")
    with monkeypatch.context() as patch:
        patch.setattr("chat.consumers.store_message", fail)
        for _ in range(11):
            await ann.send(type="send", ref="a1", text="hi")
            refused = (await ann.receive_until("error"))[-1]
            assert (refused["code"], refused["ref"]) == ("unavailable", "a1")
    await ann.send(type="send", ref="a1", text="hi")
    assert (await ann.receive_until("message"))[-1]["seq"] == 1


async def test_a_group_that_cannot_be_left_is_logged(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of a connection does not fail because the channel layer is away."""
    ann = await visit(LOBBY)
    await ann.receive_until("welcome")

    async def fail(*_: object) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(get_channel_layer(), "group_discard", fail)
    await ann.leave()
    assert "A group could not be left" in caplog.text


async def test_the_lifespan_is_answered() -> None:
    """A server that asks whether it may start and stop is told so."""
    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    answers: list[str] = []

    async def receive() -> dict[str, Any]:
        return next(incoming)

    async def send(message: dict[str, Any]) -> None:
        answers.append(message["type"])

    await lifespan({"type": "lifespan"}, receive, send)
    assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
