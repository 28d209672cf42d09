"""Consumer of the chat: delivers each message of a room to all members, in order, once."""

from typing import Any

{% if cookiecutter.auth != "none" %}
from chat.access import find_members, may_enter, membership
{% endif %}
from chat.events import parse_edit, parse_send
from chat.history import RoomHistory
from chat.models import Draft, edit_message, latest_edits, room_group, store_message
{% if cookiecutter.auth != "none" %}
from chat.names import is_private
{% endif %}
from realtime import logs
from realtime.broadcast import publish
from realtime.consumers import SyncRealtimeConsumer
from realtime.history import parse_after
from realtime.protocol import {{ "EventError" if cookiecutter.auth == "none" else "Close, EventError" }}

GREETING = 50  # the latest messages, for a client without `after`


class ChatConsumer(SyncRealtimeConsumer):
    """Socket of one user in one room."""

    own_channel = False  # every event comes through the room's group

    def joined(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        self.group = room_group(self.room)
        logs.add(room=self.room)
        history = RoomHistory(self.room)
{% if cookiecutter.auth == "none" %}
        seq = self.join(self.group, history, presence=True)
{% else %}
        if not self.admits():
            return
        key = None
        if is_private(self.room):
            key = membership(self.user, self.room)
        seq = self.join(self.group, history, presence=True, key=key, find_valid=find_members)
        if not self.admits():  # removed before the join, which is when others see the member
            return
{% endif %}
        welcome = {"type": "welcome", "room": self.room, **self.identity, "seq": seq}
        self.send_event(welcome)
        try:
            after = parse_after(self.scope["query_string"])
        except EventError as error:
            self.send_event(error.event())
            after = None
        if after:
            edits = latest_edits((self.room, after))
            if edits is None:
                self.send_event({"type": "reset"})
                after = None
            for edit in edits or ():
                self.send_event(edit)
        if after is None:
            after = max(0, seq - GREETING)
        self.replay(self.group, history, after, seq)

{% if cookiecutter.auth != "none" %}
    def admits(self) -> bool:
        """Return whether the user may be in the room. Close the socket if not."""
        if may_enter(self.user, self.room):
            return True
        self.close(Close.NOT_FOUND)
        return False

{% endif %}
    def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "send":
                self.handle_send(event)
            case "edit":
                self.handle_edit(event)
            case "typing":
                typing = {"type": "typing", **self.identity}
                publish(self.group, typing, sender=self.connection.id)
            case _:
                super().receive_event(event)

    def handle_send(self, event: dict[str, Any]) -> None:
        """Store a message and send it to all, or answer with the one stored under its `ref`."""
{% if cookiecutter.auth != "none" %}
        if not self.admits():
            return
{% endif %}
        draft = Draft(self.room, self.user_id, self.user_name, *parse_send(event))
        message, new = store_message(draft)
        if new:
            publish(self.group, message.event())
        else:
            self.send_event(message.event())

    def handle_edit(self, event: dict[str, Any]) -> None:
        """Replace the text of the user's own message. All receive the new one as `edited`."""
{% if cookiecutter.auth != "none" %}
        if not self.admits():
            return
{% endif %}
        edit_message(self.room, self.user_id, *parse_edit(event))
