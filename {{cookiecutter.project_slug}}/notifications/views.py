"""Pages of a user's notifications."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from notifications.models import MAX_TEXT, Notification, feed_of, mark_read
from realtime.feeds.events import FeedHistory
from realtime.history import parse_number
from realtime.keyset import paginate

PER_PAGE = 50


@require_safe
def notifications(request: Any) -> HttpResponse:
    """List the user's notifications, newest first; `?q=` finds a part of their texts.

    A page begins after the notification `?after=`, or ends before `?before=`.
    """
    feed = feed_of(request.user.pk)
    seq = FeedHistory.latest([feed]).get(feed, 0)  # first, so that the socket sends what follows
    query = request.GET.get("q", "").replace("\0", "")[:MAX_TEXT].strip()
    after, before = (number_of(request, key) for key in ("after", "before"))
    listed = Notification.objects.filter(user=request.user, text__icontains=query)
    page = paginate(listed, "-id", PER_PAGE, after=after, before=before)
    context = {"page": page, "query": query, "seq": seq, "is_first": not (query or page.previous)}
    return render(request, "notifications/notifications.html", context)


def number_of(request: Any, key: str) -> int:
    """Return a number of the URL, or 0 if there is none."""
    try:
        return parse_number(request.GET.get(key, ""))
    except ValueError:
        return 0


@require_safe
def open_notification(request: Any, pk: int) -> HttpResponse:
    """Mark a notification as read, and go to its URL."""
    notification = get_object_or_404(Notification, pk=pk, user=request.user)
    if request.method == "GET":  # and not a program that checks links by HEAD
        mark_read(request.user.pk, pk, pk)
    return redirect(notification.url or "notifications")


@require_POST
def read(request: Any) -> HttpResponse:
    """Mark the notifications up to the id `last` as read."""
    try:
        mark_read(request.user.pk, 1, parse_number(request.POST.get("last", "")))
    except ValueError as error:
        return HttpResponse(f"last: {error}.", status=400, content_type="text/plain")
    return redirect("notifications")
