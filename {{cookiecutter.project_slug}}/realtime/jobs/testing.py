"""Jobs in tests."""

from realtime.jobs.context import JobContext
from realtime.jobs.models import claim
from realtime.jobs.worker import run_job


def run_all() -> None:
    """Run the jobs that wait, one after the other, in this thread and its transaction."""
    while jobs := claim(1):
        run_job(JobContext(jobs[0]))
