"""Process between the MQTT broker and the database."""

import signal
import socket
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from devices.bridge import DeviceBridge


class Command(BaseCommand):
    """Command that stores what devices send, and sends commands to them, until SIGTERM."""

    help = "Store what devices send to the broker of MQTT_URL. Several share the work."
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--name",
            default=socket.gethostname(),
            help="Name by which the broker knows the bridge again. No two may have the same.",
        )

    def handle(self, *, name: str, **options: Any) -> None:
        bridge = DeviceBridge(name)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, bridge.stop)
        if not settings.REDIS_HOSTS:
            self.stdout.write("Without REDIS_URL, pages show values within five seconds.")
        bridge.run()
