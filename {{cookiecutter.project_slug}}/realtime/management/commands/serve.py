"""Production server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from realtime.servers import workers


class Command(BaseCommand):
    """Command that serves the site in production."""

    help = "Serve the site with SERVER on HOST and PORT, in WEB_CONCURRENCY processes."
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--exit-with-parent",
            action="store_true",
            help="Stop when the process that started this one has ended.",
        )

    def handle(self, **options: Any) -> None:
        workers.run(exit_with_parent=options["exit_with_parent"])
