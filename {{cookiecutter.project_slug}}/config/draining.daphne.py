"""Daphne's server with what it lacks: it waits for clients that do not read, and lets them go."""

import asyncio
import contextlib
import logging
import os
import signal
from typing import Any

from autobahn.exception import Disconnected
from daphne.server import Server, reactor
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from realtime.hub import get_hub
from realtime.protocol import Close

STOP_SECONDS = 8  # after a signal, then the process ends, whatever a thread still does


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


class DrainingServer(Server):  # type: ignore[misc]
    """Ends in good order at SIGTERM and SIGINT."""

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self.port = port

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            protocol.gate = Gate()
            protocol.transport.unregisterProducer()
            protocol.transport.registerProducer(protocol.gate, True)
        elif message["type"] == "websocket.send":
            await protocol.gate.opened.wait()
        elif message.get("code") == Close.INTERNAL_ERROR:
            protocol.handle_exception(None)  # its close refuses the code
            return
        with contextlib.suppress(Disconnected):  # the client has just left
            await super().handle_reply(protocol, message)

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.on_signal)
        signal.signal(signal.SIGINT, self.on_signal)
        super().run()

    def on_signal(self, *_: object) -> None:
        # Once: a second signal while sockets are being closed would make daphne wait for ever.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        reactor.callFromThread(self.begin_to_stop)

    def begin_to_stop(self) -> None:
        reactor.callLater(STOP_SECONDS, exit_now)
        self.port.stopListening()
        self.draining = asyncio.ensure_future(get_hub().drain())
        self.draining.add_done_callback(lambda _: reactor.callLater(0.1, self.stop))


def exit_now() -> None:
    """Exit with 0 without waiting for threads.

    Twisted stops its loop without ending what runs there. A thread that waits for it, or a slow
    view, would keep the process.
    """
    logging.shutdown()
    os._exit(0)
