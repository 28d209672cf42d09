"""A model and the events of a conversation, for the tests of the assistant."""

from collections.abc import Iterator
from typing import Any, ClassVar

from assistant.models import Conversation
from assistant.providers import Message
from assistant.questions import ask, new_conversation
from realtime.feeds.models import FeedEvent
from tests.people import id_of


class Model:
    """Provider that remembers what it was asked, and answers with the pieces of the test."""

    asked: ClassVar[list[tuple[list[Message], str]]] = []
    pieces: ClassVar[list[str | Exception]] = []

    def stream(self, messages: list[Message], spoken: str) -> Iterator[str]:
        self.asked.append((messages, spoken))
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def begin(name: str = "ann", *questions: str) -> Conversation:
    """Create a conversation of a user, and ask the questions, each as its own `ref`."""
    conversation = new_conversation(id_of(name), name)
    for question in questions:
        ask(conversation, question, question)
    return conversation


def events_of(conversation: Conversation, kind: str) -> list[dict[str, Any]]:
    """Return the stored events of a type."""
    rows = FeedEvent.objects.filter(feed__name=conversation.feed).order_by("seq")
    return [event for row in rows if (event := row.event())["type"] == kind]


def streamed(conversation: Conversation) -> str:
    """Return the text of all pieces."""
    return "".join(event["text"] for event in events_of(conversation, "piece"))
