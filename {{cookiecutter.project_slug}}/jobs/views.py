"""Pages of jobs. Progress comes through the socket."""

from typing import Any
from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from jobs.forms import ReportForm
from jobs.queries import jobs_of
from jobs.tasks import feed_of, prepare_report
from realtime.feeds.events import FeedHistory
from realtime.identity import display_name, user_id
from realtime.protocol import EventError
from realtime.work.models import Job
from realtime.work.queue import cancel, retry, start

SHOWN = 20  # the newest jobs


@require_http_methods(["GET", "HEAD", "POST"])
def jobs(request: HttpRequest) -> HttpResponse:
    """List the jobs of the user, and start one."""
    form = ReportForm(request.POST or None, initial={"key": uuid4()})
    if not form.is_valid():
        return show(request, form, status=400 if form.is_bound else 200)
    user = user_of(request)
    own = user_id(user)
    try:
        start(
            prepare_report,
            {"chapters": form.cleaned_data["chapters"]},
            user_id=own,
            user_name=display_name(user),
            feed=feed_of(own),
            key=form.cleaned_data["key"],
        )
    except EventError as refusal:
        return show(request, form, error=refusal.detail, status=429)
    return redirect("jobs")


@require_POST
def cancel_job(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel a job of the user, if it has not ended."""
    cancel(own_job(request, pk))
    return redirect("jobs")


@require_POST
def retry_job(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a job of the user go on, if it failed or was cancelled."""
    try:
        retry(own_job(request, pk))
    except EventError as refusal:
        form = ReportForm(initial={"key": uuid4()})
        return show(request, form, error=refusal.detail, status=429)
    return redirect("jobs")


def show(request: HttpRequest, form: ReportForm, *, error: str = "", status: int) -> HttpResponse:
    """Render the page. It has the state of the jobs after the event `seq`, or a later one."""
    own = user_id(user_of(request))
    feed = feed_of(own)
    seq = FeedHistory.latest([feed]).get(feed, 0)  # before the jobs are read
    context = {"form": form, "error": error, "seq": seq, "jobs": jobs_of(own)[:SHOWN]}
    return render(request, "jobs/jobs.html", context, status=status)


def own_job(request: HttpRequest, pk: int) -> Job:
    """Return a job of the user. Raise Http404 for those of others."""
    return get_object_or_404(jobs_of(user_id(user_of(request))), pk=pk)


def user_of(request: HttpRequest) -> Any:
    return {{ "request.guest  # type: ignore[attr-defined]" if cookiecutter.auth == "none" else "request.user" }}
