"""What the site is made of: settings, routes, the server."""

import platform
import sys
from importlib.util import find_spec

if sys.version_info < (3, 12):  # noqa: UP036
    this = platform.python_version()
    sys.exit(f"Python 3.12 or newer is needed, this is {this}: put `uv run` before the command.")
if not find_spec("django"):
    sys.exit("Django is not installed here: `make setup`, and put `uv run` before the command.")
