"""What holds for every consumer, sync or async: how its connection begins, lasts and ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from channels.layers import get_channel_layer
from channels.utils import await_many_dispatch
from django.db import InterfaceError, OperationalError

from realtime import logs, metrics
from realtime.conf import settings
from realtime.history import Events, History, Replay
from realtime.hub import get_hub
from realtime.limits import FrameLimit
from realtime.outbox import Outbox
from realtime.protocol import Close, EventError, check_length, decode, encode, ref_of
from realtime.types import Message, Receive, start

logger = logging.getLogger(__name__)

PONG = encode({"type": "pong"})
PATIENCE = 4  # seconds for what is under way when the end comes


class Lifecycle(AsyncConsumer):
    """Takes what the client sends, one frame after another, and cleans up however it ends.

    Channels calls `disconnect()` only when a connection ended in good order; here it is always
    called. An uncaught exception closes with 1011.
    """

    # With a channel of its own a consumer may use `self.channel_name`, and has a method for each
    # type of message, as in every Channels project. One that only joins groups is lighter without.
    own_channel = True

    _sync: bool
    scope: Any
    base_send: Any
    task: Any
    call: Callable[..., Awaitable[Any]]
    disconnect: Callable[[int], Any]
    receive_event: Callable[[dict[str, Any]], Any]
    receive_bytes: Callable[[bytes], Any]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.id: str = scope["connection"]
        self.user_name: str = scope["user"].get_username()
        self.channel_layer: Any = get_channel_layer(self.channel_layer_alias)
        self.hub = get_hub()
        self.outbox = Outbox(send, self.stop)
        self.loop = asyncio.get_running_loop()
        self.base_send = self.post_from_thread if self._sync else self.outbox.send
        self.replays: list[tuple[str, History, int, int]] = []
        self.frame_limit: FrameLimit = scope["frame_limit"]
        self.errors_in_a_row = 0
        self.joined_groups: list[str] = []
        self.task = asyncio.current_task()
        self.work: asyncio.Task[None] | None = None
        self.stopping = self.ended = False
        self.close_code = 1006
        self.hub.connections.add(self)
        metrics.CONNECTIONS.inc()
        logs.begin(connection=self.id, user=self.user_name)
        try:
            if self.hub.draining:
                await self.turn_away(receive, Close.GOING_AWAY)
            elif self.hub.knows_sign_out(self.user_name, scope["credential"], scope["since"]):
                await self.turn_away(receive, Close.SIGNED_OUT)
            else:
                await self.serve(receive)
        except asyncio.CancelledError:
            if not self.stopping:
                self.outbox.close(Close.GOING_AWAY)
                raise
            self.task.uncancel()
        except Exception:
            logger.exception("%s failed", type(self).__name__)
            self.outbox.close(Close.INTERNAL_ERROR)
        finally:
            self.ended = True
            metrics.CONNECTIONS.dec()
            await asyncio.shield(start(self.clean_up()))

    async def turn_away(self, receive: Receive, code: int) -> None:
        await receive()
        logs.report_close(self.scope, code)
        self.outbox.close(code)

    # What comes in

    async def serve(self, receive: Receive) -> None:
        """Take messages until the client is gone."""
        await self.hub.start()
        if self.own_channel:
            self.channel_name = await self.channel_layer.new_channel()
            own: Any = partial(self.channel_layer.receive, self.channel_name)
            try:
                await await_many_dispatch([receive, own], self.take)  # type: ignore[list-item]
            except StopConsumer:
                return
        # The end of the client is seen while work is under way, and not only after it.
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.close_code = message["code"]
                return
            await self.finish_work()
            self.work = start(self.handle(message))
            # Yield, so that one busy client cannot starve the rest.
            await asyncio.sleep(0)

    async def take(self, message: Message) -> None:
        """Do the work for one message of the client or of the consumer's own channel."""
        if message["type"] == "websocket.disconnect":
            self.close_code = message["code"]
            raise StopConsumer
        self.work = start(self.handle(message))
        await self.finish_work()

    async def finish_work(self) -> None:
        if self.work is not None and not self.work.done():
            await asyncio.wait({self.work})

    async def handle(self, message: Message) -> None:
        try:
            if message["type"] == "websocket.receive":
                await self.take_frame(message.get("text"), message.get("bytes") or b"")
            else:
                await self.dispatch(message)
            while self.replays:
                await self.catch_up(*self.replays.pop(0))
        except Exception:
            logger.exception("%s failed", type(self).__name__)
            self.end(Close.INTERNAL_ERROR)

    async def take_frame(self, text: str | None, data: bytes) -> None:
        """Answer a ping, hand another event to `receive_event`, refuse what is neither.

        Hand a binary frame, whose `text` is None, to `receive_bytes`.
        """
        if self.outbox.closed:
            return
        metrics.RECEIVED.inc()
        allowed = self.frame_limit.allows()
        event = None
        try:
            if text is None:
                check_length(data)
            else:
                event = decode(text)
            if not allowed:
                raise EventError("rate_limited", "Send fewer frames per second.", ref_of(event))
            if event is None:
                await self.call(self.receive_bytes, data)
            elif event["type"] == "ping":
                self.outbox.reply(PONG)
            else:
                await self.call(self.receive_event, event)
        except EventError as error:
            self.refuse(error)
        except (InterfaceError, OperationalError) as error:
            logger.error("The database did not answer: %s", error)
            answer = "The database does not answer; send it again."
            self.refuse(EventError("unavailable", answer, ref_of(event)))
        else:
            self.errors_in_a_row = 0

    def refuse(self, error: EventError) -> None:
        """Tell the client what was wrong, and close when it never gets it right."""
        metrics.ERRORS.labels(error.code).inc()
        self.outbox.reply(encode(error.event()))
        if self.frame_limit.refused >= settings.REALTIME_MAX_REFUSED:
            self.end(Close.FLOODING)
        if error.code not in {"rate_limited", "unavailable"}:
            self.errors_in_a_row += 1
        if self.errors_in_a_row >= settings.REALTIME_MAX_ERRORS:
            self.end(Close.TOO_MANY_ERRORS)

    def post_from_thread(self, message: Message) -> None:
        """Send a message without waiting: a thread that a slow client holds up has others too."""
        self.loop.call_soon_threadsafe(self.outbox.post, message)

    # Groups

    async def enter(self, group: str, history: History | None, presence: bool) -> None:
        """Become a member of a group, unless the connection is at its end."""
        if not self.ended:
            self.joined_groups.append(group)
            await self.hub.join(group, self, history, presence)

    async def catch_up(self, group: str, history: History, after: int, until: int) -> None:
        """Send what is stored with `after < seq <= until`, and from then on what is new.

        If that exceeds the limits of a replay, send a `gap` event and the newest events. Close a
        client with 4408 that does not take a chunk in `REALTIME_REPLAY_SECONDS`.
        """
        if after < until:
            replay = await Replay.plan(history, after, until)
            if replay.after > after:
                gap = {"type": "gap", "after": after, "before": replay.after + 1}
                await self.send_stored([(replay.after, encode(gap))])
            async for chunk in replay.chunks():
                await self.send_stored(chunk)
                if self.outbox.closed:
                    return
        self.hub.go_live(group, self, until)

    async def send_stored(self, events: Events) -> None:
        try:
            async with asyncio.timeout(settings.REALTIME_REPLAY_SECONDS):
                for _, text in events:
                    await self.outbox.send({"type": "websocket.send", "text": text})
        except TimeoutError:
            self.outbox.drop()

    # The end

    def end(self, code: int) -> None:
        """Close with a code, and clean up without waiting for the client's answer."""
        if code == Close.SIGNED_OUT and not self.stopping and not self.ended:
            logs.report_close(self.scope, code)
        self.outbox.close(code)
        self.stop()

    def stop(self) -> None:
        if not self.stopping and not self.ended:
            self.stopping = True
            self.task.cancel()

    async def go_away(self) -> None:
        """Close with 4012 when the work for the last frame is done."""
        if self.work is not None:
            await asyncio.wait({self.work}, timeout=PATIENCE)
        self.end(Close.GOING_AWAY)

    async def clean_up(self) -> None:
        self.outbox.closed = True
        for group in self.joined_groups:
            try:
                await self.hub.leave(group, self)
            except Exception:
                logger.exception("A group could not be left")
        if self.outbox.writer is not None:
            await asyncio.wait({self.outbox.writer}, timeout=PATIENCE)
        if self.outbox.writer is not None:
            self.outbox.writer.cancel()
        await self.finish_work()
        try:
            await self.call(self.disconnect, self.close_code)
        except Exception:
            logger.exception("%s.disconnect failed", type(self).__name__)
        self.hub.connections.discard(self)
