"""Questions of users: asking one, stopping its answer, and continuing it."""

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from assistant.models import MAX_TITLE, Conversation
from assistant.tasks import answer
from realtime.feeds.events import append
from realtime.protocol import EventError
from realtime.work.models import OPEN, Job
from realtime.work.queue import cancel, retry, start

MAX_TURNS = 100  # of a conversation, which a page shows as a whole


def conversations_of(user_id: str) -> QuerySet[Conversation]:
    """Return the conversations of a user, the latest question first."""
    return Conversation.objects.filter(user_id=user_id)


def find_conversation(user_id: str, pk: int) -> Conversation | None:
    """Return a conversation of the user, and none of others."""
    return conversations_of(user_id).filter(pk=pk).first()


def new_conversation(user_id: str, user_name: str) -> Conversation:
    """Create a conversation, or return the user's one without a question.

    Raise EventError if the user has ASSISTANT_CONVERSATIONS.
    """
    own = conversations_of(user_id)
    if unused := own.filter(title="").first():
        return unused
    if own.count() >= (most := settings.ASSISTANT_CONVERSATIONS):
        detail = gettext("You have %(most)s conversations. Delete one first.") % {"most": most}
        raise EventError("rate_limited", detail)
    return own.create(user_id=user_id, user_name=user_name)


def ask(conversation: Conversation, ref: str, text: str) -> None:
    """Store a question and start its answer, unless the question of this `ref` is stored.

    Raise EventError while another one is answered, or if there are too many.
    """
    with transaction.atomic():
        stored = locked(conversation)
        if stored is None:
            raise EventError("not_found", gettext("The conversation was deleted."), ref)
        conversation = stored  # another page may have given it a title
        turns = conversation.turns.all()
        if turns.filter(ref=ref).exists():
            return
        if turns.filter(job__state__in=OPEN).exists():
            raise EventError("busy", gettext("Wait for the answer, or stop it."), ref)
        if turns.count() >= MAX_TURNS:
            detail = gettext("A conversation has at most %(most)s questions. Start another one.")
            raise EventError("rate_limited", detail % {"most": MAX_TURNS}, ref)
        turn = turns.create(conversation=conversation, ref=ref, question=text)
        turn.job, _ = start(
            answer,
            {"turn": turn.pk},
            user_id=conversation.user_id,
            user_name=conversation.user_name,
            feed=conversation.feed,
        )
        turn.save(update_fields=["job"])
        conversation.title = conversation.title or " ".join(text.split())[:MAX_TITLE]
        conversation.asked_at = timezone.now()
        conversation.save(update_fields=["title", "asked_at"])
        event = {"type": "question", "job": turn.job.pk, "ref": ref, "text": text}
        append(conversation.feed, {**event, "title": conversation.title})


def stop(conversation: Conversation, job: int) -> None:
    """Stop an answer at once. Keep the text that is there."""
    if found := Job.objects.filter(feed=conversation.feed, pk=job).first():
        cancel(found)


def go_on(conversation: Conversation, job: int) -> None:
    """Continue the latest answer, if it failed or was stopped."""
    with transaction.atomic():
        locked(conversation)
        latest = conversation.turns.select_related("job").last()
        if latest and latest.job and latest.job.pk == job:
            retry(latest.job)


def locked(conversation: Conversation) -> Conversation | None:
    """Lock a conversation until the commit. Return it as it is stored, or None if it is deleted."""
    return Conversation.objects.select_for_update().filter(pk=conversation.pk).first()
