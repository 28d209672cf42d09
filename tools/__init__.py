"""Programs for people: `python -m tools.<name>`, in the template's folder."""

import sys
from pathlib import Path

# Programs share helpers with the tests.
sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
