"""Pages of the assistant. Answers come through the socket."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from assistant.events import MAX_QUESTION
from assistant.models import Conversation
from assistant.questions import conversations_of, find_conversation, new_conversation
from realtime.feeds.events import FeedHistory
from realtime.identity import display_name, user_id
from realtime.protocol import EventError


@require_http_methods(["GET", "HEAD", "POST"])
def conversations(request: HttpRequest) -> HttpResponse:
    """List the conversations of the user, and start one."""
    user = user_of(request)
    error = ""
    if request.method == "POST":
        try:
            return redirect(new_conversation(user_id(user), display_name(user)))
        except EventError as refusal:
            error = refusal.detail
    context = {"conversations": conversations_of(user_id(user)), "error": error}
    status = 429 if error else 200
    return render(request, "assistant/conversations.html", context, status=status)


@require_safe
def conversation(request: HttpRequest, pk: int) -> HttpResponse:
    """Render a conversation as it is after the event `seq`, or later. The rest are events."""
    found = own_conversation(request, pk)
    seq = FeedHistory.latest([found.feed]).get(found.feed, 0)  # before the answers are read
    context = {
        "conversation": found,
        "seq": seq,
        "turns": found.turns.select_related("job"),  # in one query: an answer with its steps
        "max_question": MAX_QUESTION,
    }
    return render(request, "assistant/conversation.html", context)


@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a conversation of the user."""
    own_conversation(request, pk).delete()
    return redirect("conversations")


def own_conversation(request: HttpRequest, pk: int) -> Conversation:
    """Return a conversation of the user. Raise Http404 for those of others."""
    found = find_conversation(user_id(user_of(request)), pk)
    if found is None:
        raise Http404
    return found


def user_of(request: HttpRequest) -> Any:
    return {{ "request.guest  # type: ignore[attr-defined]" if cookiecutter.auth == "none" else "request.user" }}
