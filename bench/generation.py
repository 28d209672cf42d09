"""Duration of generating the default project, relative to a template with a single file.

Both are measured in turn, with the command that users run. The first line of the output is the ratio of the medians.
Exits with 1 if it is above 4. Some eighty files are rendered, most of them pages; the others are copied, see
`_copy_without_render` in `cookiecutter.json`.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent.parent
ROUNDS = 15
LIMIT = 4


def single_file_template(folder: Path) -> Path:
    """Create a template with one question and one file."""
    template = folder / "single"
    inner = template / "{{cookiecutter.project_slug}}"
    inner.mkdir(parents=True)
    (template / "cookiecutter.json").write_text(json.dumps({"project_slug": "talking-site"}))
    (inner / "README.md").write_text("# {{ cookiecutter.project_slug }}\n")
    return template


def seconds(template: Path, folder: Path) -> float:
    """Measure one generation, in seconds."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--config-file", str(folder / "config.yaml")]
    start = time.perf_counter()
    subprocess.run([*command, "--output-dir", str(folder / "out"), str(template)], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = {"cookiecutters_dir": str(folder / "cookiecutters"), "replay_dir": str(folder / "replay")}
        (folder / "config.yaml").write_text(json.dumps(places))
        templates = {"single file": single_file_template(folder), "default project": TEMPLATE}
        for template in templates.values():
            seconds(template, folder)
        times: dict[str, list[float]] = {label: [] for label in templates}
        for _ in range(ROUNDS):
            for label, template in templates.items():
                times[label].append(seconds(template, folder))
    medians = {label: statistics.median(values) for label, values in times.items()}
    ratio = medians["default project"] / medians["single file"]
    print(f"{ratio:.2f} times the generation of a single file (limit {LIMIT}, {ROUNDS} rounds in turn)")
    for label, values in times.items():
        print(f"{label}: median {medians[label]:.3f} s, from {min(values):.3f} to {max(values):.3f} s")
    if ratio > LIMIT:
        sys.exit(1)


if __name__ == "__main__":
    main()
