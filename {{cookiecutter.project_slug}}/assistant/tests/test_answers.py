"""Answers of the model: how they are stored, continued and limited."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from assistant import tasks
from assistant.models import Conversation, Turn
from assistant.providers import Message
from assistant.questions import ask, go_on, stop
from assistant.scripted import UNKNOWN, Scripted
from assistant.tests.helpers import Model, begin, events_of, streamed
from realtime.feeds.models import Feed
from realtime.protocol import EventError
from realtime.work.context import JobError
from realtime.work.models import Job, State
from realtime.work.testing import run_all
from realtime.work.worker import FAILED

pytestmark = pytest.mark.django_db(transaction=True)

QUESTION: Message = {"role": "user", "content": "How are you?"}


def test_answer_is_stored_as_it_arrives(model: type[Model]) -> None:
    """The pieces of the feed are the stored answer, and the model was asked once."""
    conversation = begin("ann", "How are you?")
    run_all()
    turn = Turn.objects.get()
    assert (turn.answer, streamed(conversation)) == ("Fine, thanks.", "Fine, thanks.")
    assert model.asked == [([QUESTION], "")]
    assert turn.job is not None
    assert events_of(conversation, "question") == [
        {
            "type": "question",
            "job": turn.job.pk,
            "ref": "How are you?",
            "text": "How are you?",
            "title": "How are you?",
            "seq": 2,
        }
    ]
    states = [event["state"] for event in events_of(conversation, "job")]
    assert states == ["waiting", "running", "done"]


def test_pieces_that_arrive_together_are_one_event(
    model: type[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long answer takes few rows, however small the pieces of the model are."""
    monkeypatch.setattr(tasks, "BATCH_SECONDS", 0.2)
    model.pieces = ["word "] * 1000
    conversation = begin("ann", "q")
    run_all()
    assert streamed(conversation) == "word " * 1000
    assert len(events_of(conversation, "piece")) <= 3


def test_resent_question_is_asked_once(model: type[Model]) -> None:
    """A repeated `ref` is stored once, also after its answer has ended."""
    conversation = begin("ann", "a")
    ask(conversation, "a", "again")
    run_all()
    ask(conversation, "a", "again")
    run_all()
    assert (len(model.asked), [turn.question for turn in Turn.objects.all()]) == (1, ["a"])


def test_answer_goes_on_after_the_loss_of_a_worker(model: type[Model]) -> None:
    """The model gets what is stored, and continues after it."""
    conversation = begin("ann", "How are you?")
    Turn.objects.update(answer="Fine, ")
    model.pieces = ["thanks."]
    run_all()
    assert model.asked == [([QUESTION], "Fine, ")]
    assert (Turn.objects.get().answer, streamed(conversation)) == ("Fine, thanks.", "thanks.")


def test_failed_answer_keeps_its_text(model: type[Model]) -> None:
    """The user sees the reason of the model, and a retry continues."""
    model.pieces = ["Fine, ", JobError("The model is busy.")]
    conversation = begin("ann", "q")
    run_all()
    job = Job.objects.get()
    assert (job.state, job.reason) == (State.FAILED, "The model is busy.")
    assert Turn.objects.get().answer == "Fine, "
    model.pieces = ["thanks."]
    go_on(conversation, job.pk)
    run_all()
    assert (Turn.objects.get().answer, streamed(conversation)) == ("Fine, thanks.", "Fine, thanks.")


def test_unknown_error_is_not_shown(model: type[Model], caplog: pytest.LogCaptureFixture) -> None:
    """The log has the error of a library, and the page does not."""
    model.pieces = [ValueError("secret")]
    begin("ann", "q")
    run_all()
    assert Job.objects.get().reason == str(FAILED)
    assert "ValueError: secret" in caplog.text


def test_empty_answer_fails(model: type[Model]) -> None:
    """A model without an answer has failed."""
    model.pieces = [""]
    begin("ann", "q")
    run_all()
    assert Job.objects.get().reason == "The model gave no answer."


def test_long_answer_is_cut(model: type[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer ends at the limit, and the reason names it. A retry adds nothing."""
    monkeypatch.setattr(tasks, "MAX_ANSWER", 5)
    model.pieces = ["Fine, thanks."]
    conversation = begin("ann", "q")
    run_all()
    job = Job.objects.get()
    assert (Turn.objects.get().answer, streamed(conversation)) == ("Fine,", "Fine,")
    assert (job.state, job.reason) == (State.FAILED, "The answer has more than 5 characters.")
    go_on(conversation, job.pk)
    run_all()
    assert Turn.objects.get().answer == "Fine,"


def test_characters_that_cannot_be_stored_are_left_out(model: type[Model]) -> None:
    """Databases and pages would change them, and viewers would see different texts."""
    model.pieces = ["a\0b\r\n", "\ud800c 👋"]
    conversation = begin("ann", "q")
    run_all()
    assert (Turn.objects.get().answer, streamed(conversation)) == ("ab\nc 👋", "ab\nc 👋")


def test_stop_ends_an_answer_while_the_model_is_silent(
    model: type[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is kept, and the worker does not wait for the model."""
    conversation = begin("ann", "q")
    job = Job.objects.get().pk

    def stream(self: Model, messages: list[Message], spoken: str) -> Iterator[str]:
        yield "Fine, "
        while not Turn.objects.get().answer:
            time.sleep(0.01)
        stop(conversation, job)
        yield "thanks."
        raise AssertionError("The model was read on.")

    monkeypatch.setattr(Model, "stream", stream)
    run_all()
    assert Job.objects.get().state == State.CANCELLED
    assert (Turn.objects.get().answer, streamed(conversation)) == ("Fine, ", "Fine, ")


def test_earlier_turns_are_the_context(model: type[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """The model gets the latest turns that fit, without those that have no answer."""
    monkeypatch.setattr(tasks, "MAX_CONTEXT", 2 * len("?Fine, thanks."))
    conversation = begin("ann")
    for ref in "1234":
        model.pieces = [] if ref == "3" else ["Fine, thanks."]
        ask(conversation, ref, "?")
        run_all()
    ask(conversation, "5", "!")
    run_all()
    before: list[Message] = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "Fine, thanks."},
    ]
    last: Message = {"role": "user", "content": "!"}
    assert model.asked[-1] == ([*before, *before, last], "")


def test_one_answer_at_a_time() -> None:
    """A second question is refused until the answer has ended, and so is one too many."""
    conversation = begin("ann", "a")
    with pytest.raises(EventError, match="Wait for the answer"):
        ask(conversation, "b", "b")
    run_all()
    ask(conversation, "b", "b")


def test_title_is_the_first_question() -> None:
    """A page that was opened before the first question does not change the title."""
    conversation = begin("ann")
    opened_before = Conversation.objects.get()
    ask(conversation, "a", "First")
    run_all()
    ask(opened_before, "b", "Second")
    assert Conversation.objects.get().title == "First"
    titles = [event["title"] for event in events_of(conversation, "question")]
    assert titles == ["First", "First"]


def test_conversation_has_a_number_of_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit the user starts another conversation."""
    monkeypatch.setattr("assistant.questions.MAX_TURNS", 1)
    conversation = begin("ann", "a")
    run_all()
    with pytest.raises(EventError, match="at most 1 questions"):
        ask(conversation, "b", "b")


def test_only_the_latest_answer_goes_on() -> None:
    """A retry of an earlier one would change what later ones were based on."""
    conversation = begin("ann", "a")
    first = Job.objects.get()
    stop(conversation, first.pk)
    ask(conversation, "b", "b")
    stop(conversation, first.pk + 1)
    go_on(conversation, first.pk)
    assert set(Job.objects.values_list("state", flat=True)) == {State.CANCELLED}
    go_on(begin("bob"), first.pk)
    stop(begin("bob"), first.pk)


def test_deleted_conversation_leaves_nothing(model: type[Model]) -> None:
    """A deletion stops the answer, deletes the events, and refuses questions."""
    conversation = begin("ann", "a")
    Conversation.objects.get().delete()
    run_all()
    assert (model.asked, Job.objects.get().state) == ([], State.CANCELLED)
    assert not Turn.objects.exists()
    assert not Feed.objects.filter(name=conversation.feed).exists()
    with pytest.raises(EventError, match="was deleted"):
        ask(conversation, "b", "b")


def test_old_conversations_are_cleaned_up(settings: Settings) -> None:
    """The age is that of the latest question. Without a limit all are kept."""
    old, new = begin("ann", "a"), begin("bob", "b")
    age = timedelta(settings.ASSISTANT_DAYS + 1)
    Conversation.objects.filter(pk=old.pk).update(asked_at=timezone.now() - age)
    days, settings.ASSISTANT_DAYS = settings.ASSISTANT_DAYS, 0
    call_command("cleanup")
    assert Conversation.objects.count() == 2
    settings.ASSISTANT_DAYS = days
    call_command("cleanup")
    assert [found.pk for found in Conversation.objects.all()] == [new.pk]


@pytest.mark.parametrize("question", ["Hello?", "What is Channels?", "this PAGE", "Why?"])
def test_scripted_model_continues_anywhere(question: str) -> None:
    """However much of an answer is stored, the rest completes the same text."""
    messages: list[Message] = [{"role": "user", "content": question}]
    whole = "".join(Scripted().stream(messages, ""))
    assert len(whole) > 100
    assert (whole == str(UNKNOWN)) == (question == "Why?")
    for length in range(len(whole) + 1):
        spoken = whole[:length]
        assert spoken + "".join(Scripted().stream(messages, spoken)) == whole
