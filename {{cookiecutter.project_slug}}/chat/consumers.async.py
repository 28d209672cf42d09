"""Consumer of the chat: delivers each message of a room to all members, in order, once."""

from typing import Any

from channels.db import database_sync_to_async

{% if cookiecutter.auth != "none" %}
from chat.access import find_members, is_open, may_enter, membership
{% endif %}
from chat.events import parse_edit, parse_send
from chat.history import RoomHistory
from chat.models import Draft, alatest_edits, astore_message, edit_message, room_group
{% if cookiecutter.auth != "none" %}
from chat.names import is_private
{% endif %}
from realtime import logs
from realtime.broadcast import apublish
from realtime.consumers import RealtimeConsumer
from realtime.history import parse_after
from realtime.protocol import {{ "EventError" if cookiecutter.auth == "none" else "Close, EventError" }}

GREETING = 50  # the latest messages, for a client without `after`


class ChatConsumer(RealtimeConsumer):
    """Socket of one user in one room."""

    own_channel = False  # every event comes through the room's group

    async def joined(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        self.group = room_group(self.room)
        logs.add(room=self.room)
        history = RoomHistory(self.room)
{% if cookiecutter.auth == "none" %}
        seq = await self.join(self.group, history, presence=True)
{% else %}
        if not await self.admits():
            return
        key = None
        if is_private(self.room):
            key = await database_sync_to_async(membership)(self.user, self.room)
        seq = await self.join(self.group, history, presence=True, key=key, find_valid=find_members)
        if not await self.admits():  # removed before the join, which is when others see the member
            return
{% endif %}
        welcome = {"type": "welcome", "room": self.room, **self.identity, "seq": seq}
        await self.send_event(welcome)
        try:
            after = parse_after(self.scope["query_string"])
        except EventError as error:
            await self.send_event(error.event())
            after = None
        if after:
            edits = await alatest_edits((self.room, after))
            if edits is None:
                await self.send_event({"type": "reset"})
                after = None
            for edit in edits or ():
                await self.send_event(edit)
        if after is None:
            after = max(0, seq - GREETING)
        await self.replay(self.group, history, after, seq)

{% if cookiecutter.auth != "none" %}
    async def admits(self) -> bool:
        """Return whether the user may be in the room. Close the socket if not."""
        if is_open(self.room):
            return True
        if await database_sync_to_async(may_enter)(self.user, self.room):
            return True
        await self.close(Close.NOT_FOUND)
        return False

{% endif %}
    async def receive_event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "send":
                await self.handle_send(event)
            case "edit":
                await self.handle_edit(event)
            case "typing":
                typing = {"type": "typing", **self.identity}
                await apublish(self.group, typing, sender=self.connection.id)
            case _:
                await super().receive_event(event)

    async def handle_send(self, event: dict[str, Any]) -> None:
        """Store a message and send it to all, or answer with the one stored under its `ref`."""
{% if cookiecutter.auth != "none" %}
        if not await self.admits():
            return
{% endif %}
        draft = Draft(self.room, self.user_id, self.user_name, *parse_send(event))
        message, new = await astore_message(draft)
        if new:
            await apublish(self.group, message.event())
        else:
            await self.send_event(message.event())

    async def handle_edit(self, event: dict[str, Any]) -> None:
        """Replace the text of the user's own message. All receive the new one as `edited`."""
{% if cookiecutter.auth != "none" %}
        if not await self.admits():
            return
{% endif %}
        await database_sync_to_async(edit_message)(self.room, self.user_id, *parse_edit(event))
