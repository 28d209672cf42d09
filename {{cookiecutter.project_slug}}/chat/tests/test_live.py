"""Chat on the real server, with clients at real sockets."""

import json
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from chat.models import Message
from realtime.routing import socket_path
from realtime.testing import running_server
from tests.people import handshake_headers


def receive(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next event of a type."""
    event: dict[str, Any] = {}
    while event.get("type") != kind:
        event = json.loads(socket.recv(5))
    return event


@pytest.mark.django_db(transaction=True)
def test_server_delivers_messages_and_drains() -> None:
    """Both clients receive a message. SIGTERM closes them with 4012, and the message is stored."""
    path = socket_path("room", "lobby")
    with running_server() as (address, server), ExitStack() as stack:
        sockets = []
        for name in ("ann", "bob"):
            headers = [(key.decode(), value.decode()) for key, value in handshake_headers(name)]
            opening = connect(f"ws://{address}{path}", additional_headers=headers)
            sockets.append(stack.enter_context(opening))
            assert receive(sockets[-1], "welcome")["user"] == name
        sockets[0].send('{"type":"send","ref":"a1","text":"hi"}')
        events = [receive(socket, "message") for socket in sockets]
        server.terminate()
        for socket in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                receive(socket, "nothing")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4012
    assert events == [Message.objects.get().event()] * 2
