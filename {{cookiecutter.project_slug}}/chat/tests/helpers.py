"""Stored messages for the tests of the chat."""

from chat.models import Message, store_message


def store(text: str, *, room: str = "lobby", user: str = "bob", ref: str = "") -> Message:
    """Store a message without publishing it. The user's id is the name, and the `ref` the text."""
    return store_message(room, user, user, ref or text[:64], text)[0]
