"""HTTP of daphne, with limits on the size and the time of each request."""

from daphne import http_protocol
from daphne.server import reactor
from twisted.web.http import HTTPChannel

from realtime.conf import settings

MAX_CHUNKS = 10_000  # of a body; 413 above this, since each costs the same, however small


class Request(http_protocol.WebRequest):  # type: ignore[misc]
    """Request whose body has at most `SERVER_MAX_BODY_BYTES`."""

    chunks = 0

    def handleContentChunk(self, data: bytes) -> None:
        super().handleContentChunk(data)
        self.chunks += 1
        if self.content.tell() > settings.SERVER_MAX_BODY_BYTES or self.chunks > MAX_CHUNKS:
            self.channel.refuse("413 Content Too Large")


class Channel(HTTPChannel):  # type: ignore[misc]
    """HTTP connection with limits on the size and the time of each part of a request."""

    requestFactory = Request
    MAX_LENGTH = totalHeadersSize = settings.SERVER_MAX_HEAD_BYTES

    begun = False  # a request, until it is answered
    refused = False

    # Time

    def resetTimeout(self) -> None:
        """Ignore what arrives: a client gains no time by sending a little now and then."""

    def dataReceived(self, data: bytes) -> None:
        if self.refused:
            return
        if not self.begun and data.strip(b"\r\n"):
            self.begun = True
            self.setTimeout(settings.SERVER_HEAD_SECONDS)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        # Daphne would trust this header, from any client.
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
            super().allContentReceived()  # ends the limit while the application works

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
