"""What holds for every socket, whatever it is for."""

from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.core.checks import run_checks
from django.db import transaction
from pytest_django import Settings

from chat.models import room_group
from realtime.asgi import lifespan
from realtime.broadcast import publish
from realtime.lifecycle import Connection
from realtime.origin import parse_origin
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


async def test_nothing_is_sent_after_the_end() -> None:
    """Neither after a close, nor to a client that went away unannounced."""
    sent: list[str] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] == "gone":
            raise OSError

    closed, gone = Connection(send), Connection(send)
    await closed.send({"type": "websocket.close"})
    await closed.send({"type": "late"})
    await gone.send({"type": "gone"})
    await gone.send({"type": "late"})
    assert sent == ["websocket.close", "gone"]


@pytest.mark.django_db(transaction=True)
def test_an_event_is_published_on_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rolled back is never sent."""
    sent: list[str] = []

    async def group_send(group: str, message: dict[str, Any]) -> None:
        sent.append(message["text"])

    monkeypatch.setattr(get_channel_layer(), "group_send", group_send)
    with transaction.atomic():
        publish("group", {"type": "kept"})
        assert sent == []
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        publish("group", {"type": "lost"})
        raise ZeroDivisionError
    assert sent == ['{"type":"kept"}']


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


@pytest.mark.parametrize(
    ("debug", "backend", "errors"),
    [
        (False, "channels.layers.InMemoryChannelLayer", ["realtime.E001"]),
        (True, "channels.layers.InMemoryChannelLayer", []),
        (False, "channels_redis.pubsub.RedisPubSubChannelLayer", []),
    ],
)
def test_the_in_memory_layer_is_no_production_layer(
    settings: Settings, debug: bool, backend: str, errors: list[str]
) -> None:
    """`check --deploy` refuses it once DEBUG is off."""
    settings.DEBUG = debug
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
    found = run_checks(include_deployment_checks=True)
    assert [check.id for check in found if str(check.id).startswith("realtime.")] == errors
