"""Scripted answers in place of a language model, for development and tests."""

import re
import time
from collections.abc import Iterator

from django.utils.translation import gettext_lazy as _

from assistant.providers import Message

PIECE_SECONDS = 0.04

ANSWERS = {
    "hello": _(
        "Hello! Ask about this page, or about Channels. My answers are in "
        "assistant/scripted.py, and come slowly, as those of a language model do."
    ),
    "channels": _(
        "Channels lets Django speak WebSocket. A browser opens a socket, a consumer "
        "answers it, and a channel layer carries events between processes.\n\nThis answer is a job "
        "of a worker. Each piece is stored with a number and then published, so that a page which "
        "reconnects gets what it has missed, and no more."
    ),
    "page": _(
        "This page shows an answer while it is written. Reload it, open it in a second tab, or "
        "restart the server: the answer goes on where it was, because every piece is stored before "
        "it is sent.\n\nIf the worker is lost, another one continues after the last piece. Stop "
        "ends the answer at once and keeps its text. Continue resumes it."
    ),
}
UNKNOWN = _(
    "I have no answer to that, because I am a script and not a language model. Ask me about this "
    "page, or about Channels.\n\nTo talk to a real model, follow the recipe “Connect a language "
    "model”. It takes one class and one setting, and this page stays as it is."
)


class Scripted:
    """Provider that needs no network, and always gives the same answer to a question."""

    def stream(self, messages: list[Message], spoken: str) -> Iterator[str]:
        question = messages[-1]["content"].lower()
        answer = next((text for word, text in ANSWERS.items() if word in question), UNKNOWN)
        for piece in re.findall(r"\s*\S+", str(answer).removeprefix(spoken)):
            time.sleep(PIECE_SECONDS)
            yield piece
