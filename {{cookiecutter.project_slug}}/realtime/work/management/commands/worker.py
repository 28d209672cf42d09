"""Worker process of jobs."""

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from realtime import servers
from realtime.conf import settings
from realtime.process import keep_channel_layer
from realtime.servers import workers
from realtime.work.worker import Worker


class Command(BaseCommand):
    """Command that runs jobs until SIGTERM, which gives them back to other workers."""

    help = "Run the jobs that wait, REALTIME_JOB_THREADS at once. Start any number of workers."
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--exit-with-parent",
            action="store_true",
            help="Stop when the process that started this one has ended.",
        )

    def handle(self, **options: Any) -> None:
        worker = Worker(settings.REALTIME_JOB_THREADS)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, worker.stop)
        if options["exit_with_parent"]:
            workers.stop_after(workers.wait_for_parent)
        widen_pools(settings.REALTIME_JOB_THREADS)
        keep_channel_layer()
        worker.run()
        servers.exit_now()  # a task that did not end in time still runs in its thread


def widen_pools(threads: int) -> None:
    """Let pools have a connection for each job, for taking jobs up, and for renewing leases."""
    for connection in connections.all():
        pool = connection.settings_dict["OPTIONS"].get("pool")
        if isinstance(pool, dict):
            pool["max_size"] = max(pool["max_size"], threads + 2)
