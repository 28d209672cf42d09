"""Jobs on PostgreSQL, whose transactions lock rows, and not the database."""

import threading

import pytest
from django.db import connection, connections, transaction

from engine import jobs
from engine.test_work import Task, begin, eventually, quiet, states, working  # noqa: F401
from realtime.feeds.events import append
from realtime.work import worker as worker_module
from realtime.work.context import JobError
from realtime.work.models import Job, State, claim
from realtime.work.testing import run_all
from realtime.work.worker import FAILED

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.usefixtures("quiet")
def test_transaction_of_a_task_holds_up_no_other_job(settings):
    """While a task holds its row, the other leases are renewed, and other jobs start."""
    settings.REALTIME_JOB_LEASE = 1
    begin(jobs.wait, user_id="bob", feed="bob")
    with working(3), working(3):
        assert jobs.running.acquire(timeout=5)
        begin(jobs.hold)
        assert jobs.running.acquire(timeout=5)
        assert not jobs.running.acquire(timeout=3)
        begin(jobs.count, {"to": 1}, user_id="eve", feed="eve")
        eventually(lambda: states("eve") == ["waiting", "running", "done"])
        jobs.go_on.set()
        eventually(lambda: states("bob") == ["waiting", "running", "done"])


@pytest.mark.usefixtures("quiet")
def test_locked_feed_holds_up_only_its_jobs():
    """A worker starts the jobs of others while a program holds the feed of a user."""
    begin(jobs.count, {"to": 1})
    locked, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            append("jobs", {"type": "other"})
            locked.set()
            assert done.wait(15)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(5)
    with working(2):
        begin(jobs.count, {"to": 1}, user_id="bob", feed="bob")
        eventually(lambda: states("bob") == ["waiting", "running", "done"])
        done.set()
        holder.join()
        eventually(lambda: states() == ["waiting", "running", "done"])


def test_locked_job_is_left_to_the_next_call():
    """A row that another transaction holds does not keep a worker from the next one."""
    first, second = begin(jobs.count, {"to": 1}), begin(jobs.count, {"to": 1})
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT 1 FROM {Job._meta.db_table} WHERE id = %s FOR UPDATE", [first.pk])
        assert [job.pk for job in claim(2)] == [second.pk]
    finally:
        other.close()
    assert Job.objects.get(pk=first.pk).state == State.WAITING


@pytest.mark.parametrize(
    "result", ["a\0b", "\ud800", float("nan"), JobError("\0")], ids=["NUL", "surrogate", "NaN", "reason"]
)
def test_end_that_cannot_be_stored_fails_the_job(result, monkeypatch):
    """The task is called once, and its user sees that something went wrong."""
    job = begin(jobs.answer, {"result": None})
    monkeypatch.setattr(worker_module, "import_string", lambda _: Task(result))
    run_all()
    job.refresh_from_db()
    assert (job.state, job.reason, job.attempts) == (State.FAILED, FAILED, 1)
    assert states() == ["waiting", "running", "failed"]


def test_slow_query_fails_the_job(caplog):
    """A repetition would take as long. The log has the reason."""
    job = begin(jobs.query, {"sql": "SET LOCAL statement_timeout = 100; SELECT pg_sleep(5)"})
    run_all()
    job.refresh_from_db()
    assert (job.state, job.reason) == (State.FAILED, FAILED)
    assert "canceling statement due to statement timeout" in caplog.text


def test_lost_connection_leaves_the_job_to_its_lease(caplog):
    """The database may come back, and the job goes on then."""
    begin(jobs.query, {"sql": "SELECT pg_terminate_backend(pg_backend_pid())"})
    with working() as worker:
        eventually(lambda: "after its lease" in caplog.text and not worker.runs)
    assert Job.objects.get().state == State.RUNNING


@pytest.mark.usefixtures("quiet")
def test_task_and_user_start_jobs_at_the_same_time():
    """A start after a step waits for no request of the user that waits for the step."""
    begin(jobs.chain)
    with working(1):
        assert jobs.running.acquire(timeout=5)
        begin(jobs.count, {"to": 1})
        eventually(lambda: Job.objects.filter(state=State.DONE).count() == 3)
    assert states().count("failed") == 0
