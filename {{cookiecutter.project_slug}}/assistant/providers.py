"""Protocol of language models. The setting ASSISTANT_PROVIDER names a class that follows it."""

from collections.abc import Iterator
from typing import Literal, Protocol, TypedDict

from django.conf import settings
from django.utils.module_loading import import_string


class Message(TypedDict):
    """Question of the user, or answer of the assistant."""

    role: Literal["user", "assistant"]
    content: str


class Provider(Protocol):
    """Connection to a language model, made without arguments for each answer."""

    def stream(self, messages: list[Message], spoken: str) -> Iterator[str]:
        """Yield the answer to the last message, piece by piece, as the model gives it.

        `spoken` is the stored beginning of the answer, "" at first. It has a text if a worker was
        lost, or if the user continues the answer: yield only the rest. Raise JobError with a line
        for the user if the model fails. A thread reads the iterator, and closes it if the user
        stops the answer.
        """


def get_provider() -> Provider:
    """Return a new provider."""
    provider: Provider = import_string(settings.ASSISTANT_PROVIDER)()
    return provider
