#!/usr/bin/env python
"""Django's command-line utility."""

import os
import sys

from realtime.command_line import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    execute_from_command_line(sys.argv)
