"""Combinations whose suites are run, or CI's jobs as JSON: `python -m tools.matrix [--github]`."""

import json
import sys

from support.matrix import ci_jobs, label, rotated

if __name__ == "__main__" and sys.argv[1:] == ["--github"]:
    print(json.dumps(list(ci_jobs())))
elif __name__ == "__main__":
    for answers, python in rotated():
        print(f"{label(answers)}  on Python {python}")
