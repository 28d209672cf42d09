"""Connection of one client, and the middleware that gives one to any consumer."""

import asyncio
import logging
import math
import random
import time
from contextvars import ContextVar
from typing import Any

from realtime import logs, metrics
from realtime.auth import FindValid, Identity
from realtime.auth.sessions import identity_of_session
from realtime.connection_limit import limits_of
from realtime.identity import display_name
from realtime.outbox import Disconnected, Outbox
from realtime.process import Process, get_process
from realtime.protocol import Close, refuse
from realtime.rate_limit import Bucket, FrameLimit
from realtime.revalidation import SignIn
from realtime.types import Application, Message, Receive, Scope, Send, start

logger = logging.getLogger(__name__)

PATIENCE = 4  # seconds for work in progress at the end, then it is cancelled

# The connection whose consumer runs, also in its threads.
current: ContextVar["Connection | None"] = ContextVar("connection", default=None)


class Connection:
    """WebSocket of one user, with limits on what it sends and what waits for it.

    `receive` and `send` are what a consumer gets instead of the server's.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = f"{random.getrandbits(64):016x}"  # not a secret; `secrets` asks the kernel
        self.scope = scope
        self.user = scope.get("user")
        self.sign_in = sign_in_of(scope)
        self.conditions: frozenset[tuple[FindValid, Any]] = frozenset()  # of the groups
        # Without a primary key, each connection is a user of its own.
        self.user_id = self.sign_in.user_id or f"anonymous-{self.id}"
        self.user_name = display_name(self.user) if self.user else ""
        self.receive_from_server = receive
        self.outbox = Outbox(send, self.end)
        self.send = self.outbox.send
        self.frame_limit: FrameLimit  # of the user, once the connection is admitted
        self.within_limit = True  # the last frame
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        self.receiving: asyncio.Task[object] | None = None  # waits for the client
        self.work: asyncio.Task[None] | None = None  # for the last frame, if a consumer has a task
        self.idle: asyncio.Future[None] | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self.end_code: int | None = None

    def follow(self, sign_in: SignIn) -> None:
        """Get another sign-in, from a thread. Limits and presence keep the first user."""
        self.sign_in = sign_in
        self.loop.call_soon_threadsafe(self.schedule_expiry)

    def return_to_guest(self) -> bool:
        """Get the sign-in of the handshake again. Return False if it was not that of a guest."""
        if getattr(self.user, "is_authenticated", False):
            return False
        self.follow(sign_in_of(self.scope))
        return True

    def require(self, key: Any, find_valid: FindValid | None) -> None:
        """End when a look-up does not return the key. There is none without a key or a function."""
        if key is not None and find_valid is not None:
            self.conditions |= {(find_valid, key)}

    def schedule_expiry(self) -> None:
        """Close with 4403 when the sign-in expires, if it does."""
        if self.expiry is not None:
            self.expiry.cancel()
        if (seconds := self.sign_in.seconds_left()) < math.inf:
            self.expiry = self.loop.call_later(seconds, self.end, Close.SIGNED_OUT)

    def is_signed_in(self, user: str | None, credential: str | None) -> bool:
        """Return whether the connection has the user and the credential. None stands for any."""
        sign_in = self.sign_in
        if credential is not None and credential != sign_in.identity.credential:
            return False
        return user is None or user in (self.user_id, sign_in.user_id)

    async def receive(self) -> Message:
        """Receive the next message of the client, or a disconnect once the connection has ended."""
        if self.idle is not None and not self.idle.done():
            self.idle.set_result(None)
        if self.frame_limit.is_flooded():
            self.end(Close.FLOODING)
        if self.end_code is None:
            self.receiving = asyncio.current_task()
            try:
                message = await self.receive_from_server()
            except asyncio.CancelledError:
                if self.end_code is None or self.receiving is None:
                    raise
                self.receiving.uncancel()
            else:
                if message["type"] == "websocket.receive":
                    metrics.RECEIVED.inc()
                    self.within_limit = self.frame_limit.allows()
                if self.end_code is None:
                    return message
            finally:
                self.receiving = None
        return {"type": "websocket.disconnect", "code": self.end_code}

    def end(self, code: int) -> None:
        """Close with a code, without waiting for the client's answer."""
        if self.end_code is not None:
            return
        self.end_code = code
        self.outbox.close(code)
        self.outbox.ended = True
        self.ended.set_result(None)
        if self.receiving is not None:
            self.receiving.cancel()
        if self.task is not None:
            self.deadline = self.loop.call_later(PATIENCE, self.task.cancel)

    async def drain(self) -> None:
        """Close with 4012 when the work for the last frame is done."""
        if self.work is not None:
            await asyncio.wait({self.work}, timeout=PATIENCE)
        elif self.receiving is None:
            self.idle = self.loop.create_future()
            await asyncio.wait({self.idle}, timeout=PATIENCE)
        self.end(Close.GOING_AWAY)

    def post_from_thread(self, message: Message) -> None:
        """Send a message as it is now, without waiting: other connections need the thread, too."""
        if self.outbox.ended:
            raise Disconnected
        self.loop.call_soon_threadsafe(self.outbox.post, dict(message))

    async def close_outbox(self) -> None:
        """Wait a short time until the client has taken what was sent."""
        self.outbox.stop()
        self.outbox.ended = True
        for timer in (self.deadline, self.expiry):
            if timer is not None:
                timer.cancel()
        if self.outbox.writer is not None:
            await asyncio.wait({self.outbox.writer}, timeout=PATIENCE)
        if self.outbox.writer is not None:
            self.outbox.writer.cancel()


def sign_in_of(scope: Scope) -> SignIn:
    """Return the sign-in that the middleware found, which may be Channels' own."""
    user, session = scope.get("user"), scope.get("session")
    if "identity" in scope:
        identity: Identity = scope["identity"]
    elif session is not None and getattr(user, "is_authenticated", False):
        identity = identity_of_session(user, session)
    else:
        identity = Identity(user)
    return SignIn(identity, session)


class ConnectionMiddleware:
    """Middleware that puts a `Connection` into the scope, and closes it where it must end.

    Codes: 4409 above a limit of `limits_of`, 4429 for a flood, 4403 for a sign-out, 4012 for a
    shutdown, 4408 for a client that does not read, 1011 for an exception.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return await self.inner(scope, receive, send)
        process = get_process()
        connection = Connection(scope, receive, send)
        user, own_id = connection.user_id, connection.id
        limits = limits_of(user, scope)
        if not await process.connection_limit.acquire(limits, own_id):
            logs.report_close(connection, Close.TOO_MANY_CONNECTIONS)
            return await refuse(Close.TOO_MANY_CONNECTIONS)(scope, receive, send)
        bucket = process.buckets.setdefault(user, Bucket())
        connection.frame_limit = FrameLimit(bucket)
        # The server counts the frames that never become messages, such as pings.
        if frames := scope.get("extensions", {}).get("realtime.frames"):
            frames.limit = connection.frame_limit
        process.connections.add(connection)
        metrics.CONNECTIONS.inc()
        logs.begin(connection=own_id, user=connection.user_name)
        outside = current.set(connection)
        try:
            await self.serve(process, connection)
        finally:
            current.reset(outside)
            metrics.CONNECTIONS.dec()
            process.connections.discard(connection)
            if connection.frame_limit.is_flooded():
                logs.report_close(connection, Close.FLOODING)
            elif connection.end_code is not None:
                logs.report_close(connection, connection.end_code)
            # Keep the bucket until it is full: a new connection gets no new burst.
            connection.loop.call_later(bucket.seconds_until_full(), bucket.refill)
            await asyncio.shield(start(process.connection_limit.release(limits, own_id)))

    async def serve(self, process: Process, connection: Connection) -> None:
        scope = {**connection.scope, "connection": connection}
        try:
            await process.start()
            if process.draining:
                await self.turn_away(connection, Close.GOING_AWAY)
            elif self.has_ended(process, connection):
                await self.turn_away(connection, Close.SIGNED_OUT)
            else:
                connection.schedule_expiry()
                await self.inner(scope, connection.receive, connection.send)
        except asyncio.CancelledError:
            if connection.end_code is None:
                connection.outbox.close(Close.GOING_AWAY)
                raise
            if connection.task is not None:
                connection.task.uncancel()
        except Disconnected:
            pass
        except Exception:
            logger.exception("The consumer of %s failed", scope.get("path"))
            connection.outbox.close(Close.INTERNAL_ERROR)
        finally:
            await asyncio.shield(start(connection.close_outbox()))

    def has_ended(self, process: Process, connection: Connection) -> bool:
        """Return whether the sign-in has ended since its look-up began."""
        since = connection.scope.get("since", time.monotonic())
        credential = connection.sign_in.identity.credential
        ended = process.bus.was_signed_out(connection.user_id, credential, since)
        return ended or connection.sign_in.seconds_left() <= 0

    async def turn_away(self, connection: Connection, code: int) -> None:
        await connection.receive()
        connection.end(code)
