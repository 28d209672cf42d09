"""Task that writes an answer. A worker runs it, and again from its start if a worker was lost."""

import re
from contextlib import closing

from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Concat
from django.utils.translation import gettext

from assistant.models import Turn
from assistant.providers import Message, get_provider
from realtime.keyset import iterate
from realtime.work.context import JobContext, JobError, job
from realtime.work.streams import collect

MAX_ANSWER = 20_000  # characters; the answer ends at this number
MAX_CONTEXT = 20_000  # characters of earlier turns that the model gets with a question
BATCH_SECONDS = 0.05  # pieces that arrive within this time are one event
UNSTORABLE = re.compile("[\0\r\ud800-\udfff]")  # a database or a page would change them


@job
def answer(context: JobContext, turn: int) -> None:
    """Write the answer of a turn, piece by piece, after what is stored of it."""
    asked = Turn.objects.get(pk=turn)
    stream = get_provider().stream(messages_of(asked), asked.answer)
    with closing(collect(context, stream, BATCH_SECONDS)) as batches:
        for pieces in batches:
            text = UNSTORABLE.sub("", "".join(pieces))
            room = MAX_ANSWER - len(asked.answer)
            if text[:room]:
                store(context, asked, text[:room])
            if len(text) > room:
                reason = gettext("The answer has more than %(count)s characters.")
                raise JobError(reason % {"count": MAX_ANSWER})
    if not asked.answer:
        raise JobError(gettext("The model gave no answer."))


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
