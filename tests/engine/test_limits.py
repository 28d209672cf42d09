"""Limits on the connections and frames of one user, and on the bodies of requests."""

import asyncio
import gc
import json

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model

from engine.people import cookies_of, rename
from realtime.bodies import BodyLimit
from realtime.connection import ConnectionMiddleware
from realtime.process import get_process
from realtime.rate_limit import HiddenFrames

PATH = "/ws/journal/a/"


async def test_user_has_twenty_connections(visit):
    """The next connection closes with 4409 until another one ends. Other users may connect."""
    sockets = [await visit(PATH) for _ in range(20)]
    assert await (await visit(PATH)).close_code() == 4409
    assert (await (await visit(PATH, "bob")).receive())["type"] == "welcome"
    await sockets[0].disconnect()
    assert (await (await visit(PATH)).receive())["type"] == "welcome"


async def test_connections_are_counted_by_primary_key(visit, settings):
    """A rename gives a user no further connections, and a new user of the old name has a limit of their own."""
    settings.REALTIME_MAX_CONNECTIONS = 1
    cookies = await sync_to_async(cookies_of)("ann")
    first = await visit(PATH, None, cookies=cookies)
    await first.receive_until("welcome")
    await sync_to_async(rename)("ann", "annie")
    assert await (await visit(PATH, None, cookies=cookies)).close_code() == 4409
    assert (await (await visit(PATH, "ann")).receive())["type"] == "welcome"


async def test_burst_is_accepted_and_flood_refused(visit):
    """40 frames at once are handled. The next one is refused by its `ref`, and the connection stays open."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    for _ in range(40):
        await ann.send(type="ping")
    await ann.send(type="wave", ref="too many")
    assert [(await ann.receive())["type"] for _ in range(40)] == ["pong"] * 40
    refused = await ann.receive()
    assert (refused["code"], refused["ref"]) == ("rate_limited", "too many")
    await asyncio.sleep(0.2)
    assert await ann.receives_nothing()


async def test_persistent_flood_is_closed(visit):
    """200 refused frames close with 4429. They do not count as errors for 4400."""
    ann = await visit(PATH)
    await ann.receive_until("welcome")
    for _ in range(300):
        await ann.send(type="ping")
    events = []
    while (message := await ann.communicator.receive_output(5))["type"] == "websocket.send":
        events.append(json.loads(message["text"]).get("code", "pong"))
    assert message == {"type": "websocket.close", "code": 4429}
    assert events.count("rate_limited") == 200
    assert 40 <= events.count("pong") < 50


async def test_connections_share_the_limit_of_their_user(visit, settings):
    """Neither a second connection nor a reconnect gives a user a new burst."""
    settings.REALTIME_RATE = 0.001
    ann, tab, bob = await visit(PATH), await visit(PATH), await visit(PATH, "bob")
    for visitor in (ann, tab, bob):
        await visitor.receive_until("welcome")
    for _ in range(20):
        assert await ann.receives_nothing()
        assert await tab.receives_nothing()
    await ann.disconnect()
    again = await visit(PATH)
    await again.receive_until("welcome")
    for visitor in (tab, again):
        await visitor.send(type="ping")
        assert (await visitor.receive())["code"] == "rate_limited"
    assert await bob.receives_nothing()


async def test_only_the_flooding_connection_is_closed(visit, settings):
    """The other connections of the user are answered with `rate_limited` meanwhile, and stay open."""
    settings.REALTIME_MAX_REFUSED = 5
    ann, tab = await visit(PATH), await visit(PATH)
    await tab.receive_until("welcome")
    for _ in range(100):
        await ann.send(type="ping")
    assert await ann.close_code() == 4429
    await tab.send(type="ping")
    answer = await tab.receive()
    assert answer["type"] == "pong" or answer["code"] == "rate_limited"
    await asyncio.sleep(0.2)
    assert await tab.receives_nothing()


async def test_frames_below_messages_count(visit, settings):
    """A server counts control frames with the limit that it is given for the user."""
    settings.REALTIME_RATE = 0.001
    frames = HiddenFrames()
    ann = await visit(PATH, extensions={"realtime.frames": frames})
    await ann.receive_until("welcome")
    assert [frames.limit.allows() for _ in range(41)] == [True] * 40 + [False]
    await ann.send(type="ping")
    assert (await ann.receive())["code"] == "rate_limited"
    assert frames.limit.refused == 2


async def test_full_bucket_is_forgotten(settings):
    """A user's bucket is dropped once it is full again."""
    settings.REALTIME_RATE = 200

    async def application(scope, receive, send):
        while scope["connection"].frame_limit.allows():
            pass

    async def unused(*_): ...

    await ConnectionMiddleware(application)({"type": "websocket", "user": get_user_model()(pk=7)}, unused, unused)
    kept = list(get_process().buckets)
    await asyncio.sleep(1)
    gc.collect()  # frames that an exception refers to may be in a cycle
    assert (kept, list(get_process().buckets)) == (["7"], [])


async def read_body(scope, receive, send):
    """Answer with the body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})
    assert (await receive())["type"] == "http.disconnect"


async def post(settings, pieces, announced=None):
    """Return status and body of the answer to a body in pieces, after which nothing arrives."""
    settings.SERVER_MAX_BODY_BYTES = 10
    settings.SERVER_BODY_SECONDS = settings.SERVER_IDLE_SECONDS = 0.1
    sent = []
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]

    async def receive():
        if not messages:
            await asyncio.sleep(10)
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    if messages and announced is None:
        messages[-1]["more_body"] = False
        messages.append({"type": "http.disconnect"})
    fields = [] if announced is None else [(b"content-length", str(announced).encode())]
    await BodyLimit(read_body)({"type": "http", "http_version": "1.1", "headers": fields}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def test_body_within_the_limit_arrives(settings):
    """The application reads a body in one piece or in several."""
    assert await post(settings, [b"0123456789"]) == (200, b"0123456789")
    assert await post(settings, [b"01234", b"56789"]) == (200, b"0123456789")


async def test_body_above_the_limit_is_refused(settings):
    """An announced body is refused with 413 before it is sent, another one when it exceeds the limit."""
    assert await post(settings, [], announced=11) == (413, b"")
    assert await post(settings, [b"01234", b"56789", b"0"]) == (413, b"")


async def test_missing_body_is_refused(settings):
    """A body that does not arrive in time is refused with 408."""
    assert await post(settings, [b"01234"], announced=10) == (408, b"")
