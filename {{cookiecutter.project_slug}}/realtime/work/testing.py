"""Jobs in tests."""

from realtime.work.context import JobContext
from realtime.work.models import claim
from realtime.work.worker import run_job


def run_all() -> None:
    """Run the jobs that wait, one after the other, in this thread and its transaction."""
    while jobs := claim(1):
        run_job(JobContext(jobs[0]))
