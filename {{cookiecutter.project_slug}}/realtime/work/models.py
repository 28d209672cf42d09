"""Jobs and their leases. The table is the queue, and all that is known of a job."""

from collections import Counter
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from realtime.conf import settings
from realtime.feeds.events import append

LOST = _("The worker was lost too often.")


class State(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


OPEN = (State.WAITING, State.RUNNING)


class Job(models.Model):
    """Call of a task, for a user.

    `user_id` is the primary key of an account or the id of a guest, and no foreign key. Events go
    to `feed`, if it has a name. The task writes its texts in `language`. `resume` is what the task
    needs to go on after its last step. A worker that runs the job renews `locked_until`, and
    changes the row only while `lease` is its own. Nothing runs the job before the lease ends, even
    if it was cancelled and started again.
    """

    kind = models.CharField(_("task"), max_length=200)  # its path
    arguments = models.JSONField(_("arguments"), default=dict)
    user_id = models.CharField(_("user ID"), max_length=64, default="")
    user_name = models.CharField(_("user name"), max_length=150, default="")
    feed = models.CharField(_("feed"), max_length=100, default="")
    language = models.CharField(_("language"), max_length=35, default="", db_default="")
    key = models.CharField(_("key"), max_length=100, default="")
    once = models.BooleanField(_("one at a time"), default=False)
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.WAITING)
    progress = models.FloatField(_("progress"), default=0)  # from 0 to 1
    steps = models.PositiveIntegerField(_("steps"), default=0)
    resume = models.JSONField(_("resume from"), default=dict)
    result = models.JSONField(_("result"), null=True)
    reason = models.CharField(_("reason"), max_length=500, default="")  # of a failure, for the user
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)  # since the last step
    retries = models.PositiveSmallIntegerField(_("retries"), default=0)
    lease = models.CharField(_("lease"), max_length=32, default="")
    locked_until = models.DateTimeField(_("locked until"), null=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    started_at = models.DateTimeField(_("started at"), null=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, db_index=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        indexes = (
            models.Index(fields=("state", "id"), name="job_state"),
            models.Index(fields=("user_id", "created_at"), name="job_user"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("user_id", "kind"),
                condition=models.Q(once=True, state__in=OPEN),
                name="job_once",
            ),
            models.UniqueConstraint(
                fields=("user_id", "kind", "key"),
                condition=~models.Q(key=""),
                name="job_key_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.pk}"

    @property
    def name(self) -> str:
        """Name of the task's function."""
        return self.kind.rpartition(".")[2]

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @classmethod
    def expired(cls) -> models.QuerySet[Self]:
        """Return jobs that ended over REALTIME_JOB_DAYS ago, for `manage.py cleanup` to delete."""
        days = settings.REALTIME_JOB_DAYS
        if not days:
            return cls.objects.none()
        old = timezone.now() - timedelta(days)
        return cls.objects.filter(ended_at__lt=old).order_by("ended_at")

    def event(self) -> dict[str, Any]:
        """Return the event about the job's state that clients get."""
        return {
            "type": "job",
            "job": self.pk,
            "name": self.name,
            "state": self.state,
            "progress": self.progress,
            "steps": self.steps,
            "reason": self.reason,
            "result": self.result,
        }

    def publish(self) -> None:
        """Append the event about the state to the feed."""
        if self.feed:
            append(self.feed, self.event())


def change(jobs: models.QuerySet[Job], pk: int, **fields: Any) -> Job | None:
    """Change a job and publish its state, if it is one of these jobs. Return it, or None."""
    with transaction.atomic():
        if not jobs.filter(pk=pk).update(**fields):
            return None
        job = Job.objects.get(pk=pk)
        job.publish()
    return job


def claim(most: int) -> list[Job]:
    """Take up waiting jobs, and those whose worker was lost, each with a lease of its own.

    Users with the fewest running jobs are first, then the oldest jobs, so that a user with many
    jobs holds up no others. Jobs whose rows are locked are left to the next call. No event is
    stored, because the feed may be locked, and the channel layer slow: the run itself publishes
    its start.
    """
    free = models.Q(locked_until=None) | models.Q(locked_until__lt=Now())
    jobs = Job.objects.filter(free, state__in=OPEN)
    if not jobs.exists():  # without a transaction, which would lock an SQLite database
        return []
    claimed: list[Job] = []
    running = Counter({"": 0})  # of each user
    running.update(Job.objects.filter(state=State.RUNNING).values_list("user_id", flat=True))
    with transaction.atomic():
        while len(claimed) < most:
            whens = (models.When(user_id=user, then=count) for user, count in running.items())
            turn = models.Case(*whens, default=0)
            job = jobs.select_for_update(skip_locked=True).order_by(turn, "pk").first()
            if job is None:
                break
            job.state, job.attempts, job.lease = State.RUNNING, job.attempts + 1, uuid4().hex
            job.locked_until = lease_end()
            job.save(update_fields=["state", "attempts", "lease", "locked_until"])
            running[job.user_id] += 1
            claimed.append(job)
    return claimed


def leased(jobs: list[Job]) -> models.QuerySet[Job]:
    """Return the rows that still have the leases of these jobs."""
    keys = [job.pk for job in jobs]
    return Job.objects.filter(pk__in=keys, lease__in=[job.lease for job in jobs])


def lease_end() -> Any:
    """Return when a lease ends that is renewed now, by the clock of the database."""
    return Now() + timedelta(seconds=settings.REALTIME_JOB_LEASE)


def renew(jobs: list[Job]) -> None:
    """Renew the leases of jobs, except of rows that are locked, by a step of the task usually."""
    with transaction.atomic():
        free = leased(jobs).select_for_update(skip_locked=True).values("pk")
        Job.objects.filter(pk__in=free).update(locked_until=lease_end())


def find_running(jobs: list[Job]) -> set[str]:
    """Return the leases of these jobs under which they still run, and were not cancelled."""
    return set(leased(jobs).filter(state=State.RUNNING).values_list("lease", flat=True))


def release(job: Job) -> None:
    """End the lease of a job. If the job is not cancelled, another worker takes it up at once."""
    own = leased([job])
    given_back = {"state": State.WAITING, "attempts": 0, **UNLOCKED}
    if not change(own.filter(state=State.RUNNING), job.pk, **given_back):
        own.update(**UNLOCKED)


UNLOCKED = {"lease": "", "locked_until": None}


def ended(state: State, **fields: Any) -> dict[str, Any]:
    """Return the fields of a job that ends by itself."""
    return {"state": state, "ended_at": timezone.now(), **UNLOCKED, **fields}
