"""HTTP of uvicorn, with limits on the size and the time of each request."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from realtime.conf import settings


class HTTPProtocol(HttpToolsProtocol):
    """HTTP connection that obeys `SERVER_MAX_HEAD_BYTES` and the `SERVER_…_SECONDS`.

    `realtime.bodies` limits bodies.
    """

    deadline: asyncio.TimerHandle | None = None
    head_bytes = 0  # of the lines that are complete
    unparsed_bytes = 0  # since the start of the request or the last piece of its body
    new_bytes = 0  # of these, the ones that arrived last
    refusal = 400
    refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.limit_time(settings.SERVER_IDLE_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end_limit()
        super().connection_lost(exc)

    def limit_time(self, seconds: float, callback: Callable[[], None]) -> None:
        self.end_limit()
        self.deadline = self.loop.call_later(seconds, callback)

    def end_limit(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    # Size

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self.new_bytes = len(data)
        super().data_received(data)
        self.unparsed_bytes += self.new_bytes
        if self.unparsed_bytes > settings.SERVER_MAX_HEAD_BYTES:
            self.refuse(431)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self.count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self.count(len(name) + len(value))

    def count(self, size: int) -> None:
        self.head_bytes += size
        if self.head_bytes > settings.SERVER_MAX_HEAD_BYTES:
            self.refusal = 431
            raise ValueError  # stops the parser, which makes uvicorn answer

    def on_body(self, body: bytes) -> None:
        self.unparsed_bytes = self.new_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.unparsed_bytes = self.new_bytes = 0
        super().on_message_complete()

    # Time

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head_bytes = self.unparsed_bytes = 0
        self.limit_time(settings.SERVER_HEAD_SECONDS, self.head_expired)

    def head_expired(self) -> None:
        if self.responding():
            self.limit_time(settings.SERVER_HEAD_SECONDS, self.head_expired)
        else:
            self.refuse(408)

    def on_headers_complete(self) -> None:
        self.end_limit()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.responding() and self.deadline is None:
            self.limit_time(settings.SERVER_IDLE_SECONDS, self.transport.close)

    # Answers

    def responding(self) -> bool:
        """Return whether the application has a request to answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        self.refuse(self.refusal)

    def refuse(self, status: int) -> None:
        """Answer without the application, then discard what still arrives.

        If the server closed at once, unread data would reset the connection, and the client could
        lose the answer (RFC 9112, section 9.6).
        """
        if self.refused:
            return
        if self.responding():
            return self.transport.close()
        self.refused = True
        lines = [name + b": " + value for name, value in self.server_state.default_headers]
        lines += [b"content-length: 0", b"connection: close", b"", b""]
        self.transport.write(STATUS_LINE[status] + b"\r\n".join(lines))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.limit_time(settings.SERVER_IDLE_SECONDS, self.transport.close)
