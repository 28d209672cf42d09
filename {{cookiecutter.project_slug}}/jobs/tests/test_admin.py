"""Jobs in the admin."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from jobs.tasks import prepare_report
from realtime.work.models import Job, State
from realtime.work.queue import cancel, start
from tests.people import user_of

pytestmark = pytest.mark.django_db

JOBS = "/admin/realtime_work/job/"


def act(client: Client, action: str) -> str:
    """Choose all jobs and an action. Return the page that follows."""
    chosen = {"action": action, "_selected_action": list(Job.objects.values_list("pk", flat=True))}
    return client.post(JOBS, chosen, follow=True).content.decode()


def test_staff_cancel_and_retry_jobs(admin_client: Client) -> None:
    """The actions change the jobs that they can, and report their number and what was refused."""
    one, other = (start(prepare_report, {"chapters": 1}, user_id="ann")[0] for _ in range(2))
    cancel(one)
    assert "Cancelled: 1." in act(admin_client, "cancel")
    assert set(Job.objects.values_list("state", flat=True)) == {State.CANCELLED}
    Job.objects.filter(pk=other.pk).update(once=True)
    start(prepare_report, {"chapters": 1}, user_id="ann", once=True)
    page = act(admin_client, "retry")
    assert "Started again: 1." in page
    assert page.count("Such a job is waiting or running.") == 1
    assert f"Prepare_report {other.pk}: Such" in page


def test_jobs_are_found_and_not_edited(admin_client: Client) -> None:
    """Staff find the jobs of a user, and cannot invent or edit one."""
    job, _ = start(prepare_report, {"chapters": 1}, user_id="7", user_name="ann")
    start(prepare_report, {"chapters": 1}, user_id="8", user_name="bob")
    html = admin_client.get(JOBS, {"q": "ann"}).content.decode()
    assert (html.count("prepare_report</td>"), ">bob<" in html) == (1, False)
    assert admin_client.get(f"{JOBS}add/").status_code == 403
    assert admin_client.get(f"{JOBS}{job.pk}/change/").status_code == 200
    assert admin_client.post(f"{JOBS}{job.pk}/change/", {"state": "done"}).status_code == 403


def test_actions_need_the_permission_to_change() -> None:
    """Staff who may only view jobs get no action."""
    user = user_of("ann")
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_job"))
    ann = Client()
    ann.force_login(user)
    start(prepare_report, {"chapters": 1})
    assert ann.get(JOBS).status_code == 200
    assert "Cancelled:" not in act(ann, "cancel")
    assert Job.objects.get().state == State.WAITING
