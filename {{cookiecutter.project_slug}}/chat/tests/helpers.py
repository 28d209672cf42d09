"""Stored messages and names of rooms for the tests of the chat."""

from chat.models import Draft, Message, store_message

BAD_NAMES = ["x" * 65, ".", "..", "a\nb", "a\x7fb", " a", "a\u2028", " \u3164\u200d\ufe0f"]
BAD_NAMES += ["a\u202eb", "a\u2066b", "lob\u200bby", "lob\u2065by"]  # reordered or hidden
BAD_NAMES += ["\u200d~team", "\u034f~team", "\u3164~team"]  # the first character is hidden
{% if cookiecutter.auth != "none" %}
BAD_NAMES += ["\uff5eteam", "\u02dcteam"]  # looks like a private room
{% endif %}


def store(text: str, *, room: str = "lobby", user: str = "bob", ref: str = "") -> Message:
    """Store a message without publishing it. The user's id is the name, and the `ref` the text."""
    return store_message(draft(text, room=room, user=user, ref=ref))[0]


def draft(text: str, *, room: str = "lobby", user: str = "bob", ref: str = "") -> Draft:
    """Return a message that is not stored."""
    return Draft(room, user, user, ref or text[:64], text)
