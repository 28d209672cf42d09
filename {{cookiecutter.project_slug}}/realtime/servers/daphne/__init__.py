"""Daphne: its options, HTTPS, and a shutdown that closes sockets with 4012."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

from autobahn.exception import Disconnected
from daphne.server import Server, reactor
from OpenSSL import crypto
from twisted.internet import ssl
from twisted.logger import globalLogBeginner
from twisted.protocols.tls import TLSMemoryBIOFactory

from realtime.conf import settings
from realtime.process import get_process
from realtime.protocol import Close
from realtime.servers import exit_now, on_stop
from realtime.servers.daphne.http import HTTPFactory
from realtime.servers.daphne.websocket import WebSocketFactory, WebSocketProtocol

STOP_SECONDS = 8  # exit this long after a signal, even if a thread is busy


class DrainingServer(Server):  # type: ignore[misc]
    """Server of one listening socket that drains at SIGTERM and SIGINT."""

    def listen(self, listener: socket.socket) -> None:
        factory: Any = HTTPFactory(self)
        if settings.TLS_CERTFILE and settings.TLS_KEYFILE:
            options = tls_options(settings.TLS_CERTFILE, settings.TLS_KEYFILE)
            factory = TLSMemoryBIOFactory(options, False, factory)
        listener.setblocking(False)
        self.port = reactor.adoptStreamPort(listener.fileno(), listener.family, factory)
        self.listen_success(self.port)

    def run(self, listener: socket.socket) -> None:
        self.connections: dict[Any, dict[str, Any]] = {}
        self.ws_factory = WebSocketFactory(self, server=self.server_name)
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,
            openHandshakeTimeout=0,  # the application may take its time, as on other servers
            closeHandshakeTimeout=2,  # autobahn may take a second less, then resets the connection
            maxMessagePayloadSize=settings.REALTIME_MAX_MESSAGE_BYTES,
            maxFramePayloadSize=settings.REALTIME_MAX_MESSAGE_BYTES,
            failByDrop=False,  # send a close code first
        )
        # Twisted logs nothing that concerns the operator.
        globalLogBeginner.beginLoggingTo(
            [lambda _: None], redirectStandardIO=False, discardBuffer=True
        )
        self.listen(listener)
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)
        asyncio.set_event_loop(reactor._asyncioEventloop)
        reactor.addSystemEventTrigger("before", "shutdown", self.kill_all_applications)
        on_stop(self.on_signal)
        reactor.run(installSignalHandlers=False)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if isinstance(protocol, WebSocketProtocol):
            scope["scheme"] = "wss" if settings.TLS_CERTFILE else "ws"
            scope["extensions"] = {"realtime.frames": protocol.hidden}
        queue = super().create_application(protocol, scope)
        return protocol.messages if queue and isinstance(protocol, WebSocketProtocol) else queue

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            protocol.transport.unregisterProducer()
            protocol.transport.registerProducer(protocol.flow, True)
        elif message["type"] == "websocket.send":
            await protocol.flow.gate.wait()
            if protocol.state in (protocol.STATE_CLOSING, protocol.STATE_CLOSED):
                raise ConnectionError  # ends a handler that only sends
        elif message.get("code") == Close.INTERNAL_ERROR:
            protocol.handle_exception(None)  # daphne's close does not accept the code
            return
        with contextlib.suppress(Disconnected):  # the client has just left
            await super().handle_reply(protocol, message)

    def on_signal(self, *_: object) -> None:
        on_stop(lambda *_: None)  # daphne would hang if a second signal came while it drains
        reactor.callFromThread(self.drain)

    def drain(self) -> None:
        reactor.callLater(STOP_SECONDS, exit_now)
        self.port.stopListening()
        self.draining = asyncio.ensure_future(get_process().drain())
        self.draining.add_done_callback(lambda _: reactor.callLater(0.1, self.stop))


def with_own_calls(application: Any) -> Any:
    """Give the application the queue of its WebSocket, and the `send` that lends the transport."""

    def run(scope: Any, receive: Any, send: Any) -> Any:
        (protocol,) = send.args
        if isinstance(protocol, WebSocketProtocol):
            send, receive = protocol.send, protocol.messages.get
        return application(scope, receive, send)

    return run


def tls_options(certificate_file: str, key_file: str) -> ssl.CertificateOptions:
    """Return Twisted's TLS defaults with a certificate chain and its key."""
    end = b"-----END CERTIFICATE-----"
    *blocks, _ = Path(certificate_file).read_bytes().split(end)
    first, *others = [ssl.Certificate.loadPEM(block + end).original for block in blocks]
    key = crypto.load_privatekey(crypto.FILETYPE_PEM, Path(key_file).read_bytes())
    return ssl.CertificateOptions(privateKey=key, certificate=first, extraCertChain=others)


def serve(application: Any, listener: socket.socket) -> None:
    """Serve an application on a listening socket until SIGTERM or SIGINT."""
    server = DrainingServer(
        with_own_calls(application),
        endpoints=["the listening socket"],  # required by daphne, not used
        server_name="",
        ping_interval=settings.SERVER_PING_SECONDS,
        ping_timeout=settings.SERVER_PING_SECONDS * 3 // 2,
        websocket_timeout=-1,
        application_close_timeout=5,
    )
    server.run(listener)
