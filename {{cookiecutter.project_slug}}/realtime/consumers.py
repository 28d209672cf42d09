"""Bases of consumers that exchange JSON events: one async, one sync."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, get_handler_name
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.utils import await_many_dispatch
from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext

from realtime import metrics
from realtime.auth import FindValid
from realtime.conf import settings
from realtime.connection import PATIENCE, Connection, ConnectionMiddleware
from realtime.history import Events, History, alatest_of, latest_of, parse_after
from realtime.outbox import Disconnected
from realtime.process import get_process
from realtime.protocol import Close, EventError, check_event, check_length, decode, encode, ref_of
from realtime.types import Message, Receive, start

logger = logging.getLogger(__name__)

PONG = encode({"type": "pong"})


class BaseConsumer(AsyncConsumer):
    """Common part: frames and their handlers, answers to errors, and the end of a connection.

    Channels calls `disconnect()` only if a connection ended in good order. Here it is always
    called. An uncaught exception closes with 1011.
    """

    # With a channel of its own a consumer has `channel_name` and `groups`, and a method for each
    # type of layer message. A consumer that only joins groups is cheaper without.
    own_channel = True

    groups: Any = None
    _sync: bool
    scope: Any
    base_send: Any
    call: Callable[..., Awaitable[Any]]
    disconnect: Callable[[int], Any]
    receive_json: Callable[[Any], Any]
    receive_bytes: Callable[[bytes], Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.groups and not cls.own_channel:
            raise TypeError(f"{cls.__name__}.groups needs a channel. Remove own_channel = False.")

    def __getattr__(self, name: str) -> Any:
        if name == "channel_name":
            raise AttributeError(
                f"{type(self).__name__} has no channel_name. Remove own_channel = False."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if "connection" not in scope:  # not behind the middleware, as in a test
            return await ConnectionMiddleware(self)(scope, receive, send)
        self.scope = scope
        self.connection: Connection = scope["connection"]
        self.user = self.connection.user
        self.user_id = self.connection.user_id
        self.user_name = self.connection.user_name
        self.identity = {"user": self.user_name, "user_id": self.user_id}  # fields of an event
        self.outbox = self.connection.outbox
        self.hub = get_process().hub
        self.channel_layer: Any = get_channel_layer(self.channel_layer_alias)
        self.base_send = self.connection.post_from_thread if self._sync else send
        self.joined_groups: list[str] = []
        self.replays: list[tuple[str, History, int, int]] = []
        self.errors_in_a_row = 0
        self.cleaned_up = False
        self.close_code = 1006
        try:
            await self.serve(receive)
        finally:
            await asyncio.shield(start(self.clean_up()))

    # Received

    async def serve(self, receive: Receive) -> None:
        """Handle messages until the client has disconnected."""
        if self.own_channel:
            self.channel_name = await self.channel_layer.new_channel()
            own: Any = partial(self.channel_layer.receive, self.channel_name)
            try:
                await await_many_dispatch([receive, own], self.handle_one)  # type: ignore[list-item]
            except StopConsumer:
                return
        # Receive while work is in progress, so that a disconnect is seen at once.
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.close_code = message["code"]
                return
            await self.finish_work()
            self.connection.work = start(self.handle(message))
            # Yield, so that one busy client cannot starve the rest.
            await asyncio.sleep(0)

    async def handle_one(self, message: Message) -> None:
        """Handle one message of the client or of the consumer's own channel."""
        if message["type"] == "websocket.disconnect":
            self.close_code = message["code"]
            raise StopConsumer
        self.connection.work = start(self.handle(message))
        await self.finish_work()

    async def finish_work(self) -> None:
        """Wait for the work for the last message, or for the end of the connection."""
        work = self.connection.work
        if work is not None and not work.done():
            waiting = {work, self.connection.ended}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    async def handle(self, message: Message) -> None:
        try:
            if message["type"] == "websocket.receive":
                await self.handle_frame(message.get("text"), message.get("bytes") or b"")
            else:
                await self.dispatch(message)
            while self.replays:
                await self.catch_up(*self.replays.pop(0))
        except Disconnected:
            pass
        except StopConsumer:
            self.connection.end(Close.NORMAL)
        except Exception:
            logger.exception("%s failed", type(self).__name__)
            self.connection.end(Close.INTERNAL_ERROR)

    async def handle_frame(self, text: str | None, data: bytes) -> None:
        """Answer a ping. Pass other JSON to `receive_json`, a binary frame to `receive_bytes`.

        `text` is None for a binary frame.
        """
        if self.outbox.closed:
            return
        within_limit = self.connection.within_limit
        content = None
        try:
            if text is None:
                check_length(data)
            else:
                content = decode(text)
            if not within_limit:
                answer = gettext("Send fewer frames per second.")
                raise EventError("rate_limited", answer, ref_of(content))
            if text is None:
                await self.call(self.receive_bytes, data)
            elif isinstance(content, dict) and content.get("type") == "ping":
                self.outbox.reply(PONG)
            else:
                await self.call(self.receive_json, content)
        except EventError as error:
            self.refuse(error)
        except (InterfaceError, OperationalError) as error:
            logger.error("The database did not answer: %s", error)
            answer = gettext("The database is unavailable. Send the event again.")
            self.refuse(EventError("unavailable", answer, ref_of(content)))
        else:
            self.errors_in_a_row = 0

    def refuse(self, error: EventError) -> None:
        """Send the error. Close after `REALTIME_MAX_ERRORS` in a row."""
        metrics.ERRORS.labels(error.code).inc()
        self.outbox.reply(encode(error.event()))
        if error.code not in {"rate_limited", "unavailable"}:
            self.errors_in_a_row += 1
        if self.errors_in_a_row >= settings.REALTIME_MAX_ERRORS:
            self.connection.end(Close.TOO_MANY_ERRORS)

    # Groups

    async def subscribe(self, group: str, history: History | None, presence: bool) -> None:
        """Become a member of a group, unless the connection has ended."""
        if not self.cleaned_up:
            self.joined_groups.append(group)
            await self.hub.join(group, self.connection, history, presence)

    async def catch_up(self, group: str, history: History, after: int, until: int) -> None:
        """Send the stored events with `after < seq <= until`, then go live.

        Above the limits of a replay, send a `gap` event and the newest events. Close with 4408 if
        the client does not take a chunk in `REALTIME_REPLAY_SECONDS`.
        """
        if after < until:
            replay = await self.hub.plan_replay(group, history, after, until)
            if replay.after > after:
                gap = {"type": "gap", "after": after, "before": replay.after + 1}
                await self.send_stored([(replay.after, encode(gap))])
            async for chunk in replay.chunks():
                await self.send_stored(chunk)
                if self.outbox.closed:
                    return
        self.hub.go_live(group, self.connection, until)

    async def send_stored(self, events: Events) -> None:
        if self.outbox.write_together(text for _, text in events):
            return
        try:
            async with asyncio.timeout(settings.REALTIME_REPLAY_SECONDS):
                for _, text in events:
                    await self.outbox.send({"type": "websocket.send", "text": text})
        except TimeoutError:
            self.outbox.drop()

    # The end

    async def clean_up(self) -> None:
        """Leave all groups, finish the work for the last message, and call `disconnect()`."""
        self.cleaned_up = True
        self.outbox.stop()  # first: no events while leaving
        for group in self.joined_groups:
            self.hub.leave(group, self.connection)
        for group in self.groups or ():
            await self.leave(self.channel_layer.group_discard(group, self.channel_name))
        await self.connection.close_outbox()
        work = self.connection.work
        if work is not None and not work.done():
            await asyncio.wait({work}, timeout=PATIENCE)
            work.cancel()
        try:
            await self.call(self.disconnect, self.close_code)
        except Disconnected:
            pass
        except Exception:
            logger.exception("%s.disconnect failed", type(self).__name__)

    async def leave(self, leaving: Awaitable[None]) -> None:
        try:
            await leaving
        except Exception:
            logger.exception("A group could not be left")


class RealtimeConsumer(BaseConsumer, AsyncJsonWebsocketConsumer):
    """Socket of the user in `scope["user"]`, with async handlers.

    Subclasses implement `joined()`, called once when the socket is open, and `receive_event()`.
    """

    async def joined(self) -> None:
        """Greet the client and join groups."""

    async def receive_event(self, event: dict[str, Any]) -> None:
        """Act on an event other than `ping`. Raise EventError to refuse it."""
        raise EventError("unknown_type", "There is no event of this type.", ref_of(event))

    async def receive_bytes(self, data: bytes) -> None:
        """Act on a binary frame. Refused unless a subclass implements it."""
        raise EventError("binary", "Send text frames.")

    async def connect(self) -> None:
        await self.accept()
        await self.joined()

    async def join(
        self,
        group: str,
        history: History | None = None,
        *,
        presence: bool = False,
        key: Any = None,
        find_valid: FindValid | None = None,
    ) -> int:
        """Receive what is published to the group, and its users if `presence` is true.

        With a history, events are held back until `replay()`, and the number of the latest one is
        returned. Each beat `find_valid` gets `key`, as that of an `Identity`. If it does not return
        the key, the socket is closed with 4403.
        """
        self.connection.require(key, find_valid)
        await self.subscribe(group, history, presence)
        return 0 if history is None else await alatest_of(history)

    async def replay(self, group: str, history: History, after: int, until: int) -> None:
        """Send the events with `after < seq <= until`, and from then on what is new."""
        await self.catch_up(group, history, after, until)

    async def follow(
        self,
        group: str,
        history: History,
        *,
        latest: int = 50,
        presence: bool = False,
        key: Any = None,
        find_valid: FindValid | None = None,
        **fields: Any,
    ) -> None:
        """Join a group, send `welcome` with these fields, and replay what the client has missed.

        The replay starts after the number of the client's `?after=`, or else with the `latest`
        events. The other arguments are those of `join`.
        """
        seq = await self.join(group, history, presence=presence, key=key, find_valid=find_valid)
        await self.send_event({"type": "welcome", **self.identity, "seq": seq, **fields})
        try:
            after = parse_after(self.scope["query_string"])
        except EventError as error:
            await self.send_event(error.event())
            after = None
        if after is None:
            after = max(0, seq - latest)
        await self.replay(group, history, after, seq)

    async def send_event(self, event: Mapping[str, Any]) -> None:
        """Send an event to this client."""
        await self.send_json(event)

    async def receive_json(self, content: Any, **_: Any) -> None:
        """Act on the JSON of a frame other than `ping`: pass an event to `receive_event`."""
        await self.receive_event(check_event(content))

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        return encode(content)

    async def realtime_event(self, message: dict[str, Any]) -> None:
        """Send an event that was published to a group of `groups` or `group_add`."""
        if message["sender"] != self.connection.id:
            await self.send(text_data=message["text"])

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Without Channels' visit to a thread for each message: `realtime.threads` closes old
        # database connections.
        handler = getattr(self, get_handler_name(message), None)
        if handler is None:
            raise ValueError(f"No handler for message type {message['type']}")
        await handler(message)

    async def call(self, handler: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        await handler(*arguments)


class SyncRealtimeConsumer(BaseConsumer, JsonWebsocketConsumer):
    """Socket of the user in `scope["user"]`, with sync handlers, which run in a thread.

    Subclasses implement `joined()`, called once when the socket is open, and `receive_event()`.
    """

    def joined(self) -> None:
        """Greet the client and join groups."""

    def receive_event(self, event: dict[str, Any]) -> None:
        """Act on an event other than `ping`. Raise EventError to refuse it."""
        raise EventError("unknown_type", "There is no event of this type.", ref_of(event))

    def receive_bytes(self, data: bytes) -> None:
        """Act on a binary frame. Refused unless a subclass implements it."""
        raise EventError("binary", "Send text frames.")

    def connect(self) -> None:
        self.accept()
        self.joined()

    def join(
        self,
        group: str,
        history: History | None = None,
        *,
        presence: bool = False,
        key: Any = None,
        find_valid: FindValid | None = None,
    ) -> int:
        """Receive what is published to the group, and its users if `presence` is true.

        With a history, events are held back until `replay()`, and the number of the latest one is
        returned. Each beat `find_valid` gets `key`, as that of an `Identity`. If it does not return
        the key, the socket is closed with 4403.
        """
        self.connection.require(key, find_valid)
        async_to_sync(self.subscribe)(group, history, presence)
        return 0 if history is None else latest_of(history)

    def replay(self, group: str, history: History, after: int, until: int) -> None:
        """Send the events with `after < seq <= until`, and from then on what is new.

        The replay starts when the handler returns, so that no thread waits for a slow client.
        """
        self.replays.append((group, history, after, until))

    def follow(
        self,
        group: str,
        history: History,
        *,
        latest: int = 50,
        presence: bool = False,
        key: Any = None,
        find_valid: FindValid | None = None,
        **fields: Any,
    ) -> None:
        """Join a group, send `welcome` with these fields, and replay what the client has missed.

        The replay starts after the number of the client's `?after=`, or else with the `latest`
        events. The other arguments are those of `join`.
        """
        seq = self.join(group, history, presence=presence, key=key, find_valid=find_valid)
        self.send_event({"type": "welcome", **self.identity, "seq": seq, **fields})
        try:
            after = parse_after(self.scope["query_string"])
        except EventError as error:
            self.send_event(error.event())
            after = None
        if after is None:
            after = max(0, seq - latest)
        self.replay(group, history, after, seq)

    def send_event(self, event: Mapping[str, Any]) -> None:
        """Send an event to this client."""
        self.send_json(event)

    def receive_json(self, content: Any, **_: Any) -> None:
        """Act on the JSON of a frame other than `ping`: pass an event to `receive_event`."""
        self.receive_event(check_event(content))

    @classmethod
    def encode_json(cls, content: Any) -> str:
        return encode(content)

    def realtime_event(self, message: dict[str, Any]) -> None:
        """Send an event that was published to a group of `groups` or `group_add`."""
        if message["sender"] != self.connection.id:
            self.send(text_data=message["text"])

    @database_sync_to_async
    def call(self, handler: Callable[..., None], *arguments: Any) -> None:
        handler(*arguments)
