"""Protocols of daphne with limits on what one client may cost."""

import asyncio
from typing import Any

from autobahn.websocket.types import ConnectionRequest
from daphne import http_protocol, ws_protocol
from daphne.server import reactor
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from realtime.conf import settings
from realtime.protocol import Close
from realtime.rate_limit import FrameLimit

CONTINUATION, PING, PONG = 0, 9, 10  # opcodes (RFC 6455, section 5.2)
MESSAGE_TOO_BIG = 1009
MAX_CHUNKS = 10_000  # of a body; 413 above this, since each costs the same, however small
MAX_UNREAD = 16  # messages that wait for the application; read no more above this


class Request(http_protocol.WebRequest):  # type: ignore[misc]
    """A request whose body has at most `SERVER_MAX_BODY_BYTES`."""

    chunks = 0

    def handleContentChunk(self, data: bytes) -> None:
        super().handleContentChunk(data)
        self.chunks += 1
        if self.content.tell() > settings.SERVER_MAX_BODY_BYTES or self.chunks > MAX_CHUNKS:
            self.channel.refuse("413 Content Too Large")


class Channel(HTTPChannel):  # type: ignore[misc]
    """An HTTP connection with bounds on the size and the time of each part of a request."""

    requestFactory = Request
    MAX_LENGTH = totalHeadersSize = settings.SERVER_MAX_HEAD_BYTES

    begun = False  # whether a request has begun that is not yet answered
    refused = False

    # Time

    def resetTimeout(self) -> None:
        """Do nothing: a client that sends now and then gains no time."""

    def dataReceived(self, data: bytes) -> None:
        if self.refused:
            return
        if not self.begun and data.strip(b"\r\n"):
            self.begun = True
            self.setTimeout(settings.SERVER_HEAD_SECONDS)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        # Daphne would believe any client that a proxy serves the site below this path.
        self.requests[-1].requestHeaders.removeHeader(b"Daphne-Root-Path")
        if (self.length or 0) > settings.SERVER_MAX_BODY_BYTES:
            self.refuse("413 Content Too Large")
        elif self.length != 0 and self.requests[-1].requestHeaders.hasHeader(b"Upgrade"):
            self.refuse("400 Bad Request")  # a handshake has no body
        else:
            self.setTimeout(settings.SERVER_BODY_SECONDS)
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if not self.refused:
            super().allContentReceived()  # which ends the limit while the application works

    def requestDone(self, request: Request) -> None:
        self.begun = False
        self._savedTimeOut = settings.SERVER_IDLE_SECONDS
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        if self.begun and not self.refused:
            self.refuse("408 Request Timeout")
        elif self._waitingForTransport and not self.refused:
            self.setTimeout(settings.SERVER_IDLE_SECONDS)  # the client still reads the last answer
        else:
            super().timeoutConnection()

    # Size

    def lineReceived(self, line: bytes) -> None:
        if self.begun and not self.refused:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse("431 Request Header Fields Too Large")

    def _respondToBadRequestAndDisconnect(self) -> None:
        large = self._receivedHeaderSize > self.totalHeadersSize
        many = self._receivedHeaderCount > self.maxHeaders
        if large or many:
            self.refuse("431 Request Header Fields Too Large")
        else:
            self.refuse("400 Bad Request")

    def refuse(self, status: str) -> None:
        """Answer without the application, then discard what still arrives.

        If the server closed at once, unread data would reset the connection, and the client could
        lose the answer (RFC 9112, section 9.6).
        """
        if self.refused:
            return
        self.refused = True
        fields = "Content-Length: 0\r\nConnection: close\r\n\r\n"
        self.transport.write(f"HTTP/1.1 {status}\r\n{fields}".encode())
        self._networkProducer.unregisterProducer()
        if settings.TLS_CERTFILE:
            self.transport.loseConnection()  # TLS cannot be closed in one direction
        else:
            self.transport.loseWriteConnection()
        self.clearLineBuffer()
        self.setTimeout(settings.SERVER_IDLE_SECONDS)


class HTTPFactory(http_protocol.HTTPFactory):  # type: ignore[misc]
    def buildProtocol(self, addr: object) -> Channel:
        channel = Channel()
        channel.factory = self
        channel.callLater = reactor.callLater
        channel.timeOut = settings.SERVER_IDLE_SECONDS
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]


@implementer(IPushProducer)
class Gate:
    """Closed while the transport holds more than it should, because the client does not read."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self.opened.clear()

    def resumeProducing(self) -> None:
        self.opened.set()

    stopProducing = resumeProducing


class WebSocketProtocol(ws_protocol.WebSocketProtocol):  # type: ignore[misc]
    """Count frames that never become messages."""

    def onConnect(self, request: ConnectionRequest) -> object:
        self.hidden: dict[str, Any] = {"limit": FrameLimit()}
        self.fragments = 0  # of the message that is arriving
        self.gate = Gate()
        return super().onConnect(request)

    def onFrameBegin(self) -> None:
        super().onFrameBegin()
        opcode = self.current_frame.opcode
        self.fragments = self.fragments + 1 if opcode == CONTINUATION else self.fragments
        if self.state != self.STATE_OPEN or opcode not in (CONTINUATION, PING, PONG):
            return
        limit = self.hidden["limit"]
        if self.fragments > settings.REALTIME_MAX_FRAGMENTS:
            self._fail_connection(MESSAGE_TOO_BIG, "too many fragments")
        elif not limit.allows() and limit.refused >= settings.REALTIME_MAX_REFUSED:
            self.serverClose(Close.FLOODING)
            self.discard()

    def onMessageEnd(self) -> None:
        self.fragments = 0
        super().onMessageEnd()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        super().onMessage(payload, isBinary)
        if self.application_queue.qsize() == MAX_UNREAD:
            self.transport.pauseProducing()
            self.resume_reading()

    def resume_reading(self) -> None:
        """Read from the client again when the application has caught up."""
        if self.application_queue.qsize() < MAX_UNREAD:
            self.transport.resumeProducing()
        elif self.state != self.STATE_CLOSED:
            reactor.callLater(0.01, self.resume_reading)

    def _fail_connection(self, *arguments: Any) -> None:
        super()._fail_connection(*arguments)
        self.discard()

    # Both return True to stop parsing. autobahn would take an invalid close frame for the answer to
    # its own, and drop the connection before that is sent.

    def _protocol_violation(self, reason: str) -> bool:
        super()._protocol_violation(reason)
        return True

    def _invalid_payload(self, reason: str) -> bool:
        super()._invalid_payload(reason)
        return True

    def discard(self) -> None:
        """Parse no more of what arrives until the connection ends, within a second.

        If the server closed at once, unread data would reset the connection, and the client could
        lose the close code.
        """
        self.data = b""
        self.dataReceived = lambda data: None

    def handle_reply(self, message: dict[str, Any]) -> None:
        text, data = message.get("text"), message.get("bytes")
        if message["type"] == "websocket.send" and not text and not data:
            self.sendMessage(b"", isBinary=text is None)  # daphne drops an empty one
        else:
            super().handle_reply(message)
        if message.get("code") == Close.FLOODING:
            self.discard()


class WebSocketFactory(ws_protocol.WebSocketFactory):  # type: ignore[misc]
    protocol = WebSocketProtocol
