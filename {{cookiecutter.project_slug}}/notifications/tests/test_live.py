"""Bell on the real server, at real sockets."""

import json
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from notifications.notify import notify
from realtime.testing import running_server
from tests.people import handshake_headers, user_of


def receive(socket: ClientConnection) -> dict[str, Any]:
    """Return the next event."""
    event: dict[str, Any] = json.loads(socket.recv(10))
    return event


@pytest.mark.django_db(transaction=True)
def test_notification_of_another_process_reaches_two_pages() -> None:
    """Both get it from this process, and what one reads is read in the other."""
    ann = user_of("ann")
    headers = [(key.decode(), value.decode()) for key, value in handshake_headers("ann")]
    with running_server() as (address, _), ExitStack() as stack:
        url = f"ws://{address}/ws/notifications/"
        one, other = [
            stack.enter_context(connect(url, additional_headers=headers)) for _ in range(2)
        ]
        assert [receive(one)["unread"], receive(other)["unread"]] == [1, 1]
        notification = notify(ann, "Done")
        assert receive(one) == receive(other) == {**notification.event(), "seq": 2}
        one.send(json.dumps({"type": "read", "first": 1, "last": notification.pk}))
        assert receive(one) == receive(other)
