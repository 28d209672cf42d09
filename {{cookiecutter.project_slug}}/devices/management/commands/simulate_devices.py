"""Simulated devices, for a demonstration and for tests."""

import math
import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from devices.simulator import Simulator
from realtime.open_files import allow_many_files

PATIENCE = 60  # seconds at the end, until all readings are stored


class Command(BaseCommand):
    """Command that simulates devices until SIGTERM, or for some seconds."""

    help = "Simulate devices that send a reading a second to the broker of MQTT_URL."
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=10, help="Number of devices.")
        parser.add_argument("--seconds", type=float, default=math.inf, help="Stop after this time.")

    def handle(self, *, count: int, seconds: float, **options: Any) -> None:
        if count < 1:
            raise CommandError("--count: Use at least 1.")
        allow_many_files()
        simulator = Simulator(count)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, simulator.stop)
        self.stdout.write(f"{count} devices send readings. Stop them by Ctrl+C.")
        total, kept = simulator.run(seconds, PATIENCE)
        self.stdout.write(f"Readings: {total}. Not stored: {kept}.")
        if kept:
            sys.exit(1)
