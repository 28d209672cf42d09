"""Stored messages for the tests of the chat."""

from chat.models import Message, store_message


def store(text: str, *, room: str = "lobby", user: str = "bob", ref: str = "") -> Message:
    """Store a message without publishing it. The `ref` is the text unless there is another."""
    return store_message(room, user, ref or text[:64], text)[0]
