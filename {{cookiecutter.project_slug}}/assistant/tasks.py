"""Task that writes an answer. A worker runs it, and again from its start if a worker was lost."""

import re
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from queue import SimpleQueue

from django.db import connections, transaction
from django.db.models import Value
from django.db.models.functions import Concat

from assistant.models import Turn
from assistant.providers import Message, get_provider
from realtime.keyset import iterate
from realtime.work.context import JobContext, JobError, job

MAX_ANSWER = 20_000  # characters; the answer ends at this number
MAX_CONTEXT = 20_000  # characters of earlier turns that the model gets with a question
BATCH_SECONDS = 0.05  # pieces that arrive within this time are one event
UNSTORABLE = re.compile("[\0\r\ud800-\udfff]")  # what a database or a page cannot hold


@job
def answer(context: JobContext, turn: int) -> None:
    """Write the answer of a turn, piece by piece, after what is stored of it."""
    asked = Turn.objects.get(pk=turn)
    pieces = get_provider().stream(messages_of(asked), asked.answer)
    with closing(in_batches(pieces, context)) as texts:
        for text in texts:
            room = MAX_ANSWER - len(asked.answer)
            if room:
                store(context, asked, text[:room])
            if len(text) > room:
                raise JobError(f"The answer has more than {MAX_ANSWER} characters.")
    if not asked.answer:
        raise JobError("The model gave no answer.")


def store(context: JobContext, turn: Turn, text: str) -> None:
    """Add a text to the answer, and publish it, both together or not at all."""
    with transaction.atomic():
        context.append({"type": "piece", "text": text})
        Turn.objects.filter(pk=turn.pk).update(answer=Concat("answer", Value(text)))
    turn.answer += text


def messages_of(turn: Turn) -> list[Message]:
    """Return the question, after as many earlier turns as the model may get."""
    messages: list[Message] = [{"role": "user", "content": turn.question}]
    earlier = Turn.objects.filter(conversation=turn.conversation_id, pk__lt=turn.pk)
    size = 0
    for other in iterate(earlier.exclude(answer=""), "-pk"):
        size += len(other.question) + len(other.answer)
        if size > MAX_CONTEXT:
            break
        messages.insert(0, {"role": "assistant", "content": other.answer})
        messages.insert(0, {"role": "user", "content": other.question})
    return messages


def in_batches(
    pieces: Iterator[str], context: JobContext
) -> Generator[str, None, None]:
    """Yield what arrives within each BATCH_SECONDS as one text.

    Another thread waits for the model, so that an answer is stopped while the model is silent.
    """
    reader = Reader(pieces)
    reader.start()
    try:
        is_reading = True
        while is_reading:
            context.sleep(BATCH_SECONDS)
            is_reading = reader.is_alive()  # before the queue is emptied
            if text := UNSTORABLE.sub("", reader.take()):
                yield text
        if reader.error:
            raise reader.error
    finally:
        reader.closed.set()


class Reader(threading.Thread):
    """Thread that reads what a model says."""

    def __init__(self, pieces: Iterator[str]) -> None:
        super().__init__(name="reader", daemon=True)
        self.pieces = pieces
        self.arrived: SimpleQueue[str] = SimpleQueue()
        self.closed = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Read until the model ends, fails, or is told to stop."""
        try:
            for piece in self.pieces:
                if self.closed.is_set():
                    break
                self.arrived.put(piece)
        except Exception as error:
            self.error = error
        finally:
            del self.pieces  # ends the request
            connections.close_all()  # of this thread, if the provider queries

    def take(self) -> str:
        """Return what has arrived since the last call."""
        return "".join(self.arrived.get() for _ in range(self.arrived.qsize()))
