"""What a language model has to offer. The setting ASSISTANT_PROVIDER names a class that does."""

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

        `spoken` is the beginning that is stored: after the loss of a worker, or if the user lets an
        answer go on. Yield only what follows it. Raise JobError with a line for the user if the
        model fails. The iterator is read in a thread, and closed if the user stops the answer.
        """


def get_provider() -> Provider:
    """Return a new provider."""
    provider: Provider = import_string(settings.ASSISTANT_PROVIDER)()
    return provider
